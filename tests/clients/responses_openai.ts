// The Responses API with openai of npm.

import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

type Asked = { root: string; hello: string; place: string; turns: string };

const asked: Asked = JSON.parse(process.argv[2]);
const Place = z.object({ city: z.string(), country: z.string() });
const weather: OpenAI.Responses.FunctionTool = {
  type: "function",
  name: "weather",
  strict: null,
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

async function told(baseURL: string) {
  const { responses } = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
  const stream = responses.stream({ model: "fake", input: asked.hello });
  const kinds: string[] = [];
  for await (const event of stream) kinds.push(event.type);
  const first = await responses.create({ model: "fake", input: asked.turns, tools: [weather] });
  const call = first.output[0];
  if (call.type !== "function_call") throw new Error(call.type);
  const output = { type: "function_call_output" as const, call_id: call.call_id, output: "sunny" };
  const then = { model: "fake", tools: [weather], previous_response_id: first.id };
  return {
    create: (await responses.create({ model: "fake", input: asked.hello })).output_text,
    stream: (await stream.finalResponse()).output_text,
    "last event": kinds.at(-1),
    parse: (
      await responses.parse({ model: "fake", input: asked.place, text: { format: zodTextFormat(Place, "place") } })
    ).output_parsed,
    loop: (await responses.create({ ...then, input: [output] })).output_text,
    retrieved: (await responses.retrieve(first.id)).id === first.id,
  };
}

const all: Record<string, unknown> = {};
for (const base of ["/v1", "/inference/v1"]) all[base] = await told(asked.root + base);
console.log(JSON.stringify(all));
