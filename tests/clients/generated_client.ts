// A client over the types that openapi-typescript generates from the document of a running server, with openapi-fetch.
// `openapi.d.ts` lies beside it. Prints the answers by dialect.

import createClient from "openapi-fetch";
import type { paths } from "./openapi.d.ts";

const client = createClient<paths, "application/json">({ baseUrl: process.argv[2] });
const texts = createClient<paths, "text/event-stream">({ baseUrl: process.argv[2] });
const model = "fake";
const prompt = "say: one, two, three";
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

function says(content: string) {
  return [{ role: "user", content }];
}

function read<T>({ data, error }: { data?: T; error?: unknown }): T {
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

async function answers(base: "/v1" | "/inference/v1") {
  const [complete, chat] = [`${base}/completions`, `${base}/chat/completions`] as const;

  const completion = read(await client.POST(complete, { body: { model, prompt, max_tokens: 50, stop: "two" } }));
  const legacy = read(await client.POST(complete, { body: { model, prompt, max_tokens: 2, logprobs: 1 } }));
  const content = read(
    await client.POST(chat, { body: { model, messages: says("say: Hi"), max_tokens: 2, logprobs: true } }),
  );
  const plain = read(await client.POST(chat, { body: { model, messages: says(prompt) } }));
  const called = read(
    await client.POST(chat, {
      body: {
        model,
        messages: says(`say: <tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>`),
        tools: [{ function: { name: "weather", parameters: city } }],
        tool_choice: "required",
      },
    }),
  );
  const formatted = read(
    await client.POST(chat, {
      body: {
        model,
        messages: says('say: {"city": "Bern"}'),
        response_format: { type: "json_schema", json_schema: { name: "n", schema: city } },
      },
    }),
  );
  const stream = await texts.POST(chat, { body: { model, messages: says(prompt), stream: true }, parseAs: "text" });
  const bad = (await client.POST(complete, { body: { model, prompt, temperature: 9 } })).error!.error;
  const unsupported = (await client.POST(complete, { body: { model, prompt, best_of: 2, stream: true } })).error!.error;
  const listed = read(await client.GET(`${base}/models`));
  const found = read(await client.GET(`${base}/models/{name}`, { params: { path: { name: "gpt-3.5-turbo" } } }));

  const tokens = [legacy.choices[0].logprobs!, content.choices[0].logprobs!] as const;
  if (!("tokens" in tokens[0]) || !("content" in tokens[1])) throw new Error("logprobs in another format");
  const call = called.choices[0].message.tool_calls![0].function;
  return {
    completion: [completion.choices[0].text, completion.choices[0].finish_reason, completion.usage!.completion_tokens],
    logprobs: [tokens[0].tokens, tokens[0].token_logprobs, tokens[1].content.map(({ token }) => token)],
    chat: plain.choices[0].message.content,
    "chat stream": String(read(stream)).split("\n\n").at(-2),
    "tool call": [call.name, JSON.parse(call.arguments!), called.choices[0].finish_reason],
    format: JSON.parse(formatted.choices[0].message.content!),
    "bad value": [bad.type, bad.param, bad.code],
    unsupported: [unsupported.type, unsupported.param, unsupported.code],
    models: listed.data.map(({ id }) => id),
    model: found.id,
  };
}

console.log(JSON.stringify({ openai: await answers("/v1"), fireworks: await answers("/inference/v1") }));
