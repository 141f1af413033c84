// Tools and forms, asked by the AI SDK: generateObject and streamObject, and tools in steps.

import { Output, generateObject, generateText, isStepCount, streamObject, streamText, tool } from "ai";
import type { LanguageModel, ToolChoice } from "ai";
import { asked } from "./asked.ts";
import type { Scenarios } from "./asked.ts";
import { CityAndUnit, Country, Place, River, TRIES, isWeather, told, tools } from "./tools_asked.ts";
import type { Call } from "./tools_asked.ts";

const { orders } = asked;
const stopWhen = isStepCount(5);

function offer(ran: Call[] = []) {
  const run = tools(ran);
  return {
    capital_of: tool({ description: told.capital_of, inputSchema: Country, execute: async (args) => run.capital_of(args) }),
    weather: tool({ description: told.weather, inputSchema: CityAndUnit, execute: async (args) => run.weather(args) }),
  };
}

function callsOf(made: { toolName: string; input: unknown }[]): Call[] {
  return made.map((call) => [call.toolName, call.input]);
}

/** `real` is the real model, `plain` one whose provider is not told that schemas are enforced. */
export function toolScenarios(model: LanguageModel, real: LanguageModel, plain: LanguageModel): Scenarios {
  async function names(prompt: string, toolChoice: ToolChoice<ReturnType<typeof offer>>) {
    const got = await generateText({ model, prompt, tools: offer(), toolChoice, temperature: 0 });
    return got.toolCalls.map((call) => call.toolName);
  }

  async function loop(prompt: string) {
    const ran: Call[] = [];
    const { text } = await generateText({ model, prompt, tools: offer(ran), stopWhen });
    return { calls: ran, text };
  }

  return {
    "json object": async () => (await generateObject({ model: plain, schema: Place, prompt: orders.place })).object,
    "typed answer": async () => {
      const { object } = await generateObject({ model, schema: Place, prompt: orders.place });
      const newer = await generateText({ model, output: Output.object({ schema: Place }), prompt: orders.place });
      if (JSON.stringify(object) !== JSON.stringify(newer.output)) throw new Error(newer.text);
      return object;
    },
    "typed answer stream": async () => {
      const got = streamObject({ model, schema: Place, prompt: orders.place });
      let last: unknown;
      for await (const partial of got.partialObjectStream) last = partial;
      const object = await got.object;
      if (JSON.stringify(object) !== JSON.stringify(last)) throw new Error(JSON.stringify(last));
      return object;
    },
    "typed answer, real model": async () => {
      const settings = { model: real, schema: River, prompt: asked.question, temperature: 1, maxRetries: 0 };
      const got = await Promise.all(Array.from({ length: TRIES }, () => generateObject(settings)));
      return got.filter(({ object }) => River.strict().safeParse(object).success).length;
    },
    call: async () => {
      const got = await generateText({ model, prompt: orders.call, tools: offer() });
      return { text: got.text, calls: callsOf(got.toolCalls), finish_reason: got.finishReason };
    },
    "call stream": async () => {
      const got = streamText({ model, prompt: orders.call, tools: offer() });
      await got.consumeStream();
      return { text: await got.text, calls: callsOf(await got.toolCalls), finish_reason: await got.finishReason };
    },
    "calls at once": () => loop(orders.calls),
    "tool choice": async () => ({
      auto: await names(orders.words, "auto"),
      none: await names(orders.call, "none"),
      required: (await names(orders.words, "required")).length,
      named: await names(orders.words, { type: "tool", toolName: "weather" }),
    }),
    "tool choice, real model": async () => {
      const { weather } = offer();
      const watched = { weather: { ...weather, execute: undefined } }; // its arguments are looked at, not used
      const toolChoice = { type: "tool" as const, toolName: "weather" as const };
      const settings = { model: real, prompt: asked.question, tools: watched, toolChoice, temperature: 1 };
      const got = await Promise.all(Array.from({ length: TRIES }, () => generateText(settings)));
      const calls = got.map(({ toolCalls }) => callsOf(toolCalls));
      return calls.filter((made) => made.length === 1 && isWeather(made[0])).length;
    },
    "agent loop": () => loop(orders.agent),
    "agent loop stream": async () => {
      const ran: Call[] = [];
      const got = streamText({ model, prompt: orders.agent, tools: offer(ran), stopWhen });
      await got.consumeStream();
      return { calls: ran, text: await got.text };
    },
  };
}
