/** An answer of the gateway that is asked for again and again while a panel is shown. */

import { type Accessor, createSignal, onCleanup } from "solid-js";

/** The newest answer, and why there is no newer one: empty if there is. */
export interface Asked<T> {
  readonly found: Accessor<T | undefined>;
  readonly failure: Accessor<string>;
}

export function asked<T>(ask: (signal: AbortSignal) => Promise<T>, everyMs: number): Asked<T> {
  const [found, setFound] = createSignal<T>();
  const [failure, setFailure] = createSignal("");
  const ending = new AbortController();
  const once = async () => {
    try {
      const answer = await ask(ending.signal);
      setFound(() => answer);
      setFailure("");
    } catch (reason) {
      if (!ending.signal.aborted) setFailure(String(reason instanceof Error ? reason.message : reason));
    }
  };
  void once();
  const timer = setInterval(() => void once(), everyMs);
  onCleanup(() => {
    clearInterval(timer);
    ending.abort();
  });
  return { found, failure };
}
