/** Requests to the gateway. */

/** An answer that is no success: what the gateway said of it. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly remedy: string,
  ) {
    super(detail);
  }
}

export type Parameters = Record<string, string | number | readonly string[] | undefined>;

const PATIENCE_MS = 20_000;
const AWAY = "See `tapehouse status`. The page goes on by itself when the gateway is there again.";
const SLOW = "See `tapehouse status`, or ask for fewer bars.";

/** The JSON at a path. Throws RequestError, or DOMException where `signal` ended it. */
export async function getJson<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<T> {
  return (await (await get(path, "application/json", parameters, signal)).json()) as T;
}

/** The CSV at a path, of integers that numbers would round; throws as `getJson`. */
export async function getCsv(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<string> {
  return (await get(path, "text/csv", parameters, signal)).text();
}

async function get(path: string, accept: string, parameters: Parameters, signal?: AbortSignal): Promise<Response> {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const ended = signal ? AbortSignal.any([signal, patience]) : patience;
  let answer: Response;
  try {
    answer = await fetch(path + queryString(parameters), { signal: ended, headers: { accept } });
  } catch (reason) {
    if (reason instanceof TypeError) throw new RequestError(0, "The gateway does not answer.", AWAY);
    if (patience.aborted && !signal?.aborted)
      throw new RequestError(0, `The gateway has not answered within ${PATIENCE_MS / 1000} s.`, SLOW);
    throw reason;
  }
  if (answer.ok) return answer;
  const problem = answer.headers.get("content-type")?.includes("problem+json") ? await answer.json() : {};
  throw new RequestError(answer.status, problem.detail ?? `status ${answer.status}`, problem.remedy ?? "");
}

export function queryString(parameters: Parameters): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) query.append(name, String(one));
    }
  }
  const text = query.toString();
  return text && `?${text}`;
}

/** ms since 1970 of an ISO time with up to nine fraction digits. */
export function milliseconds(iso: string): number {
  return Date.parse(iso.length > 24 ? `${iso.slice(0, 23)}Z` : iso);
}
