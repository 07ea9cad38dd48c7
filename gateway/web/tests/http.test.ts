import { afterEach, expect, test, vi } from "vitest";
import { RequestError, getJson } from "../src/api/http";

afterEach(() => vi.unstubAllGlobals());

async function failure(fetch: () => Promise<Response>, signal?: AbortSignal): Promise<Error> {
  vi.stubGlobal("fetch", fetch);
  return getJson("/v1/bars", {}, signal).then(
    () => new Error("it answered"),
    (reason: Error) => reason,
  );
}

test("what the gateway says of a refusal is passed on, with its remedy", async () => {
  const problem = JSON.stringify({ detail: "symbol: expected one", remedy: "See the catalog." });
  const headers = { "content-type": "application/problem+json" };
  const reason = await failure(() => Promise.resolve(new Response(problem, { status: 400, headers })));
  expect(reason).toMatchObject({ status: 400, message: "symbol: expected one", remedy: "See the catalog." });
});

test("a gateway that is away is named, with where to look", async () => {
  const reason = await failure(() => Promise.reject(new TypeError("refused")));
  expect(reason).toBeInstanceOf(RequestError);
  expect(reason).toMatchObject({ message: "The gateway does not answer." });
  expect((reason as RequestError).remedy).toContain("tapehouse status");
});

test("a request that is given up is no failure of the gateway", async () => {
  const ended = new DOMException("given up", "AbortError");
  const reason = await failure(() => Promise.reject(ended), AbortSignal.abort());
  expect(reason).toBe(ended);
});

test("an answer that takes too long is named", async () => {
  const over = AbortSignal.abort();
  vi.stubGlobal("AbortSignal", { timeout: () => over });
  const reason = await failure(() => Promise.reject(new DOMException("too long", "TimeoutError")));
  expect(reason.message).toBe("The gateway has not answered within 20 s.");
});
