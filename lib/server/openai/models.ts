import type { JsonObject } from '../../text/input'

/** The one model, as `GET /v1/models` lists it. @param created when the server began, in seconds since 1970. */
export function modelObject(id: string, created: number, context: number): JsonObject {
  return { id, object: 'model', created, owned_by: 'm2-engine', max_model_len: context }
}
