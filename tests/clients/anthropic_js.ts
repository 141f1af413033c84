// A program for @anthropic-ai/sdk of npm: messages, the stream helper, tools, counting and errors.

import Anthropic from "@anthropic-ai/sdk";
import { asked, tell } from "./asked.ts";
import type { Scenarios } from "./asked.ts";

const given = { model: asked.model, max_tokens: 200 };
const offer: Anthropic.Tool[] = [
  {
    name: "capital_of",
    input_schema: { type: "object", properties: { country: { type: "string" } }, required: ["country"] },
  },
  {
    name: "weather",
    input_schema: {
      type: "object",
      properties: { city: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
      required: ["city", "unit"],
    },
  },
];
const run: Record<string, string> = { capital_of: "Yamoussoukro", weather: "31" };

function user(content: string): Anthropic.MessageParam[] {
  return [{ role: "user", content }];
}

function textOf(message: Anthropic.Message) {
  return message.content.map((block) => (block.type === "text" ? block.text : "")).join("");
}

function told(message: Anthropic.Message) {
  const { input_tokens, output_tokens } = message.usage;
  const stop = [message.stop_reason, message.stop_sequence];
  return { text: textOf(message), stop, usage: [input_tokens, output_tokens] };
}

function scenarios(baseURL: string): Scenarios {
  const client = new Anthropic({ baseURL, apiKey: "none" });

  async function loop(order: string, streamed: boolean) {
    const messages = user(asked.orders[order]);
    const calls: unknown[] = [];
    for (;;) {
      const body = { ...given, messages, tools: offer };
      const message = streamed
        ? await client.messages.stream(body).finalMessage()
        : await client.messages.create(body);
      messages.push({ role: "assistant", content: message.content });
      const made = message.content.filter((block) => block.type === "tool_use");
      if (!made.length) return { calls, text: textOf(message) };
      calls.push(...made.map((call) => [call.name, call.input]));
      messages.push({
        role: "user",
        content: made.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: run[call.name] })),
      });
    }
  }

  return {
    message: async () => told(await client.messages.create({ ...given, messages: user(asked.prompt) })),
    stream: async () => {
      const stream = client.messages.stream({ ...given, messages: user(asked.prompt) });
      let text = "";
      stream.on("text", (piece) => (text += piece));
      const message = await stream.finalMessage();
      if (text !== textOf(message)) throw new Error(text);
      return told(message);
    },
    "stop sequence": async () => {
      const body = { ...given, messages: user(asked.prompt), stop_sequences: [asked.stop] };
      return told(await client.messages.create(body));
    },
    count: async () => {
      const body = { messages: user(asked.prompt), tools: offer };
      const counted = await client.messages.countTokens({ model: asked.model, ...body });
      return counted.input_tokens === (await client.messages.create({ ...given, ...body })).usage.input_tokens;
    },
    "agent loop": () => loop("agent", false),
    "agent loop stream": () => loop("agent", true),
    "calls at once": () => loop("calls", false),
    errors: async () => {
      try {
        await client.messages.create({ ...given, model: "other", messages: user("a") });
      } catch (error) {
        if (error instanceof Anthropic.NotFoundError) return [error.status, error.type];
        throw error;
      }
    },
    "broken stream": async () => {
      let text = "";
      const stream = client.messages.stream({ ...given, messages: user(asked.broken) });
      stream.on("text", (piece) => (text += piece));
      try {
        await stream.finalMessage();
      } catch (error) {
        if (error instanceof Anthropic.APIError) return { text, type: error.type };
        throw error;
      }
    },
  };
}

await tell(["", "/inference"], scenarios);
