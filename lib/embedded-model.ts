import path from 'node:path'

/** The folder of the model that comes with the package. */
export const EMBEDDED_MODEL = path.join(__dirname, '..', 'models', 'nano')
