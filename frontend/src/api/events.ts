import { Offline, type RequestOptions, request } from "./client.ts";

/** The events of a stream as JSON, until `[DONE]`. Throws what `request` throws, and Offline if the stream breaks. */
export async function* events<T>(path: string, options: RequestOptions): AsyncGenerator<T> {
  const response = await request(path, options);
  if (!response.body) throw new Offline();
  for await (const line of lines(response.body, options.signal)) {
    if (!line.startsWith("data:")) continue;
    const data = line.slice(5).trim();
    if (data === "[DONE]") return;
    yield JSON.parse(data) as T;
  }
}

async function* lines(body: ReadableStream<Uint8Array>, signal?: AbortSignal): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      yield* parts;
    }
  } catch (error) {
    throw signal?.aborted ? error : new Offline();
  } finally {
    reader.cancel().catch(() => undefined); // it has ended already
  }
}
