/** One listener per signal, however many generations follow it: Node warns of a leak at the eleventh. */
export class SignalHub {
  private readonly hubs = new Map<AbortSignal, { followers: Set<() => void>; listener: () => void }>()

  /** Calls `abort` when the signal fires, or now if it has. */
  follow(signal: AbortSignal, abort: () => void): void {
    if (signal.aborted) {
      abort()
      return
    }
    let hub = this.hubs.get(signal)
    if (!hub) {
      const followers = new Set<() => void>()
      const listener = () => {
        for (const follower of [...followers]) follower()
      }
      hub = { followers, listener }
      signal.addEventListener('abort', hub.listener)
      this.hubs.set(signal, hub)
    }
    hub.followers.add(abort)
  }

  unfollow(signal: AbortSignal, abort: () => void): void {
    const hub = this.hubs.get(signal)
    hub?.followers.delete(abort)
    if (hub?.followers.size !== 0) return
    this.hubs.delete(signal)
    try {
      signal.removeEventListener('abort', hub.listener)
    } catch {
      // A polyfill that fails at this must not fail the generations of others; its listener does nothing any more.
    }
  }
}
