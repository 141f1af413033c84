// The AI SDK with its default OpenAI provider, which speaks the Responses API.

import { createOpenAI } from "@ai-sdk/openai";
import { Output, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

type Asked = { root: string; hello: string; place: string; turns: string };

const asked: Asked = JSON.parse(process.argv[2]);
const schema = z.object({ city: z.string(), country: z.string() });
const tools = {
  weather: tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `sunny in ${city}`,
  }),
};

async function told(baseURL: string) {
  const model = createOpenAI({ baseURL, apiKey: "none" })("fake");
  const again = { model, maxRetries: 0 };
  const steps = { ...again, prompt: asked.turns, tools, stopWhen: isStepCount(4) };
  const streamed = streamText(steps);
  let text = "";
  for await (const part of streamed.textStream) text += part;
  const unstored = { providerOptions: { openai: { store: false } } };
  return {
    text: (await generateText({ ...again, prompt: asked.hello })).text,
    usage: (await generateText({ ...again, prompt: asked.hello })).usage.outputTokens,
    loop: (await generateText(steps)).text,
    "loop, not stored": (await generateText({ ...steps, ...unstored })).text,
    stream: text,
    typed: (await generateText({ ...again, prompt: asked.place, output: Output.object({ schema }) })).output,
  };
}

const all: Record<string, unknown> = {};
for (const base of ["/v1", "/inference/v1"]) all[base] = await told(asked.root + base);
console.log(JSON.stringify(all));
