/** GET /metrics: what the server and its engine count, in Prometheus' text format. */
import type * as Prometheus from 'prom-client'
import type { Engine, EngineStats } from '../engine'
import type { Result } from '../generation'

/** Seconds: from one token of a small model to an agent's long answer. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800]

/** Loaded with the first server: that takes as long as all of the library. */
function prometheus(): typeof Prometheus {
  return require('prom-client')
}

export class Metrics {
  private readonly registry: Prometheus.Registry
  private readonly requests: Prometheus.Counter
  private readonly duration: Prometheus.Histogram
  private readonly firstToken: Prometheus.Histogram
  private readonly queueTime: Prometheus.Histogram

  /** @param engine undefined until it is loaded. */
  constructor(engine: () => Engine | undefined) {
    const { Counter, Gauge, Histogram, Registry } = prometheus()
    this.registry = new Registry()
    const registers = [this.registry]
    const histogram = (name: string, help: string, labelNames: string[] = []) =>
      new Histogram({ name, help, labelNames, buckets: BUCKETS, registers })
    this.requests = new Counter({
      name: 'm2_requests_total',
      help: 'Requests by route and HTTP status; 499: the client left.',
      labelNames: ['route', 'status'],
      registers,
    })
    this.duration = histogram('m2_request_duration_seconds', 'From request to the end of its answer.', ['route'])
    this.firstToken = histogram('m2_time_to_first_token_seconds', 'Of generations.')
    this.queueTime = histogram('m2_queue_time_seconds', 'From the start of a generation to its first step.')
    const stats = () => engine()?.stats()
    for (const [name, help, value] of GAUGES) new Gauge({ name, help, registers, collect: set(stats, value) })
    for (const [name, help, value] of COUNTERS) new Counter({ name, help, registers, collect: raise(stats, value) })
  }

  get contentType(): string {
    return this.registry.contentType
  }

  text(): Promise<string> {
    return this.registry.metrics()
  }

  observe(route: string, status: number, ms: number, result: Result | undefined): void {
    this.requests.inc({ route, status })
    this.duration.observe({ route }, ms / 1000)
    if (!result) return
    this.queueTime.observe(result.timing.queueMs / 1000)
    if (result.usage.completionTokens > 0) this.firstToken.observe(result.timing.firstTokenMs / 1000)
  }
}

type Series = [name: string, help: string, value: (stats: EngineStats) => number]

const GAUGES: Series[] = [
  ['m2_sequences_running', 'Sequences in the batch.', ({ sequences }) => sequences.running],
  ['m2_sequences_waiting', 'Sequences that wait for room or for their reader.', ({ sequences }) => sequences.waiting],
  ['m2_pages_total', 'Pages of the KV cache: free, cached and private ones.', ({ pages }) => pages.total],
  ['m2_pages_free', 'Pages that hold nothing.', ({ pages }) => pages.free],
  ['m2_pages_cached', 'Pages that others can share.', ({ pages }) => pages.cached],
  ['m2_pages_private', 'Pages of one sequence.', ({ pages }) => pages.private],
]

const COUNTERS: Series[] = [
  ['m2_steps_total', 'Steps of the model.', ({ steps }) => steps],
  ['m2_prompt_tokens_total', 'Tokens of prompts.', ({ promptTokens }) => promptTokens],
  ['m2_cached_tokens_total', 'Those whose KV pages were reused.', ({ cachedTokens }) => cachedTokens],
  ['m2_generated_tokens_total', 'Tokens that were generated.', ({ generatedTokens }) => generatedTokens],
]

function set(stats: () => EngineStats | undefined, value: Series[2]) {
  return function (this: Prometheus.Gauge): void {
    const now = stats()
    if (now) this.set(value(now))
  }
}

/** The engine counts; the counter follows. */
function raise(stats: () => EngineStats | undefined, value: Series[2]) {
  return function (this: Prometheus.Counter): void {
    const now = stats()
    if (!now) return
    this.reset()
    this.inc(value(now))
  }
}
