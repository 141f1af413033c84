// Tools and forms, asked by openai of npm: parse, stream and runTools, with types of zod.

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { asked } from "./asked.ts";
import type { Scenarios } from "./asked.ts";
import { CityAndUnit, Country, Place, River, TRIES, isWeather, told, tools } from "./tools_asked.ts";
import type { Call } from "./tools_asked.ts";

const named = { type: "function" as const, function: { name: "weather" } };

function offer(ran: Call[] = []) {
  const run = tools(ran);
  return [
    zodFunction({
      name: "capital_of",
      description: told.capital_of,
      parameters: Country,
      function: run.capital_of,
    }),
    zodFunction({
      name: "weather",
      description: told.weather,
      parameters: CityAndUnit,
      function: run.weather,
    }),
  ];
}

function body(order: string) {
  return { model: asked.model, messages: [{ role: "user" as const, content: asked.orders[order] }] };
}

function toldOf({ message, finish_reason }: OpenAI.ChatCompletion.Choice) {
  const calls = (message.tool_calls ?? []).map((call) => {
    if (call.type !== "function") throw new Error(call.type);
    return [call.function.name, JSON.parse(call.function.arguments)] as Call;
  });
  return { text: message.content, calls, finish_reason };
}

function parsedArguments(call: object) {
  if ("function" in call) return (call.function as { parsed_arguments: unknown }).parsed_arguments;
  throw new Error("not a function");
}

/** `client` talks to the fake model, `real` to the real one. */
export function toolScenarios(client: OpenAI, real: OpenAI): Scenarios {
  const chat = client.chat.completions;
  const place = { response_format: zodResponseFormat(Place, "Place") };
  const placeCall = { tools: [zodFunction({ name: "Place", parameters: Place })] };

  async function names(order: string, choice: OpenAI.ChatCompletionToolChoiceOption) {
    const got = await chat.create({ ...body(order), tools: offer(), tool_choice: choice, temperature: 0 });
    return toldOf(got.choices[0]).calls.map(([name]) => name);
  }

  async function loop(order: string) {
    const ran: Call[] = [];
    const text = await chat.runTools({ ...body(order), tools: offer(ran) }).finalContent();
    return { calls: ran, text };
  }

  async function streamedLoop(order: string) {
    const ran: Call[] = [];
    const runner = chat.runTools({ ...body(order), tools: offer(ran), stream: true });
    return { calls: ran, text: await runner.finalContent() };
  }

  return {
    "json object": async () => {
      const got = await chat.create({ ...body("place"), response_format: { type: "json_object" } });
      return JSON.parse(got.choices[0].message.content!);
    },
    "typed answer": async () => (await chat.parse({ ...body("place"), ...place })).choices[0].message.parsed,
    "typed answer stream": async () => {
      const got = await chat.stream({ ...body("place"), ...place }).finalChatCompletion();
      return got.choices[0].message.parsed;
    },
    "typed answer, real model": async () => {
      const { messages } = body("place");
      messages[0].content = asked.question;
      const settings = { model: asked.real_model, messages, temperature: 1, n: TRIES };
      const got = await real.chat.completions.parse({ ...settings, response_format: zodResponseFormat(River, "River") });
      return got.choices.filter((choice) => River.strict().safeParse(choice.message.parsed).success).length;
    },
    "typed call": async () => {
      const got = await chat.parse({ ...body("place call"), ...placeCall });
      return parsedArguments(got.choices[0].message.tool_calls![0]);
    },
    "typed call stream": async () => {
      const got = await chat.stream({ ...body("place call"), ...placeCall }).finalChatCompletion();
      return parsedArguments(got.choices[0].message.tool_calls![0]);
    },
    call: async () => toldOf((await chat.create({ ...body("call"), tools: offer() })).choices[0]),
    "call stream": async () => {
      const stream = chat.stream({ ...body("call"), tools: offer() });
      let pieces = "";
      stream.on("tool_calls.function.arguments.delta", (piece) => (pieces += piece.arguments_delta));
      const [choice] = (await stream.finalChatCompletion()).choices;
      const told = toldOf(choice);
      if (JSON.stringify(JSON.parse(pieces)) !== JSON.stringify(told.calls[0][1])) throw new Error(pieces);
      return told;
    },
    "calls at once": () => loop("calls"),
    "tool choice": async () => ({
      auto: await names("words", "auto"),
      none: await names("call", "none"),
      required: (await names("words", "required")).length,
      named: await names("words", named),
    }),
    "tool choice, real model": async () => {
      const { messages } = body("call");
      messages[0].content = asked.question;
      const settings = { model: asked.real_model, messages, temperature: 1, n: TRIES };
      const got = await real.chat.completions.create({ ...settings, tools: offer(), tool_choice: named });
      const calls = got.choices.map((choice) => toldOf(choice).calls);
      return calls.filter((made) => made.length === 1 && isWeather(made[0])).length;
    },
    "agent loop": () => loop("agent"),
    "agent loop stream": () => streamedLoop("agent"),
  };
}
