// A program for openai of npm.

import OpenAI from "openai";
import { answer, asked, tell } from "./asked.ts";
import type { Scenarios } from "./asked.ts";
import { toolScenarios } from "./openai_js_tools.ts";

const { model, prompt } = asked;
const limits = { stop: asked.stop, max_tokens: 50 };

function messages(text: string): OpenAI.ChatCompletionMessageParam[] {
  return [{ role: "user", content: text }];
}

function scenarios(baseURL: string): Scenarios {
  const client = new OpenAI({ baseURL, apiKey: "none" });
  const real = new OpenAI({ baseURL: baseURL.replace(asked.root, asked.real_root), apiKey: "none" });
  const complete = client.completions;
  const chat = client.chat.completions;

  async function say(text: string, more: object = {}): Promise<OpenAI.ChatCompletionMessage> {
    return (await chat.create({ model, messages: messages(text), ...more })).choices[0].message;
  }

  async function refusal(wrong: object) {
    const told = [];
    for (const stream of [false, true]) {
      try {
        await complete.create({ model, prompt, stream, ...wrong });
      } catch (error) {
        if (!(error instanceof OpenAI.APIError)) throw error;
        told.push([error.status, error.code, error.param]);
      }
    }
    if (JSON.stringify(told[0]) !== JSON.stringify(told[1])) throw new Error(`told differently: ${told}`);
    return told[0];
  }

  return {
    completion: async () => {
      const { choices, usage } = await complete.create({ model, prompt, ...limits });
      return answer(choices[0].text, choices[0].finish_reason, counts(usage));
    },
    "completion stream": async () => folded(await complete.create({ model, prompt, stream: true, ...limits })),
    chat: async () => {
      const { choices, usage } = await chat.create({ model, messages: messages(prompt), ...limits });
      return answer(choices[0].message.content!, choices[0].finish_reason, counts(usage));
    },
    "chat stream": async () =>
      folded(await chat.create({ model, messages: messages(prompt), stream: true, ...limits })),
    // As the page of 2023 tells it: the type has to be cast away.
    "usage in every chunk": async () => {
      const usages: any[] = [];
      const stream = await chat.create({ model, messages: messages(prompt), stream: true, ...limits });
      for await (const chunk of stream) {
        usages.push("usage" in chunk ? (chunk as any).usage : "no such key");
      }
      return [usages[0], usages.at(-1).total_tokens ?? usages.at(-1)];
    },
    "usage on request": async () => {
      const more = { stream: true as const, stream_options: { include_usage: true }, ...limits };
      return [
        await folded(await complete.create({ model, prompt, ...more })),
        await folded(await chat.create({ model, messages: messages(prompt), ...more })),
      ];
    },
    "unknown model": () => refusal({ model: "other" }),
    "bad value": () => refusal({ temperature: 3 }),
    "prompt too long": () => refusal({ prompt: asked.long }),
    retries: async () => {
      const told: Record<string, unknown> = {};
      for (const [status, text] of Object.entries(asked.refused)) told[status] = (await say(text)).content;
      return told;
    },
    "broken stream": async () => {
      let text = "";
      try {
        const stream = await chat.create({ model, messages: messages(asked.broken), stream: true });
        for await (const chunk of stream) text += chunk.choices[0].delta.content ?? "";
      } catch (error) {
        if (!(error instanceof OpenAI.APIError)) throw error;
        return { text, code: error.code };
      }
    },
    models: async () => {
      const listed = [];
      for await (const entry of client.models.list()) listed.push(entry.id);
      return { listed, retrieved: (await client.models.retrieve(asked.slashed)).id };
    },
    "replayed message": async () => {
      const said = await say("say: first");
      const turns = [...messages("say: first"), said, ...messages("say: second")];
      return (await chat.create({ model, messages: turns })).choices[0].message.content;
    },
    nulls: async () => {
      const unset = { temperature: null, top_p: null, stop: null, seed: null, logit_bias: null, n: null };
      const completion = await complete.create({ model, prompt, max_tokens: 4, ...unset });
      return [completion.choices[0].text, (await say(prompt, { max_tokens: 4, ...unset })).content];
    },
    "fields beyond the SDK": async () => {
      const more = { top_k: 5, min_p: 0.1, repetition_penalty: 1.1, include_stop_str_in_output: true };
      return (await say(prompt, { ...limits, ...more })).content;
    },
    "real model": async () => {
      const body = { model: asked.real_model, messages: messages(asked.question), temperature: 0, max_tokens: 16 };
      const whole = await real.chat.completions.create(body);
      const stream = await real.chat.completions.create({ ...body, stream: true });
      return [whole.choices[0].message.content, (await folded(stream)).text];
    },
    ...toolScenarios(client, real),
  };
}

function counts(usage?: OpenAI.CompletionUsage | null): [number, number] | null {
  return usage ? [usage.prompt_tokens, usage.completion_tokens] : null;
}

async function folded(chunks: AsyncIterable<OpenAI.Completion | OpenAI.ChatCompletionChunk>) {
  let text = "";
  let reason: string | null = null;
  let usage: OpenAI.CompletionUsage | null = null;
  for await (const chunk of chunks) {
    usage = chunk.usage ?? usage;
    for (const choice of chunk.choices) {
      text += "delta" in choice ? (choice.delta.content ?? "") : choice.text;
      reason = choice.finish_reason ?? reason;
    }
  }
  return answer(text, reason, counts(usage));
}

await tell(["/v1", "/inference/v1"], scenarios);
