// A program for the AI SDK, with @ai-sdk/fireworks and @ai-sdk/openai-compatible.

import { createFireworks } from "@ai-sdk/fireworks";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, streamText } from "ai";
import type { LanguageModel } from "ai";
import { toolScenarios } from "./ai_sdk_tools.ts";
import { answer, asked, tell } from "./asked.ts";
import type { Scenarios } from "./asked.ts";

const { prompt } = asked;
const limits = { stopSequences: [asked.stop], maxOutputTokens: 50 };

interface Models {
  chat: (id: string) => LanguageModel;
  text: (id: string) => LanguageModel;
  /** The same, but where the provider is not told that schemas are enforced it asks for JSON of any form. */
  plain: (id: string) => LanguageModel;
}

function fireworks(baseURL: string): Models {
  const provider = createFireworks({ baseURL, apiKey: "none" });
  const chat = (id: string) => provider.chatModel(id);
  return { chat, text: (id) => provider.completionModel(id), plain: chat };
}

function compatible(baseURL: string): Models {
  const settings = { name: "crossette", baseURL, apiKey: "none", includeUsage: true };
  const provider = createOpenAICompatible({ ...settings, supportsStructuredOutputs: true });
  const plain = createOpenAICompatible(settings);
  return {
    chat: (id) => provider.chatModel(id),
    text: (id) => provider.completionModel(id),
    plain: (id) => plain.chatModel(id),
  };
}

function scenarios(open: (baseURL: string) => Models, baseURL: string): Scenarios {
  const { chat, text, plain } = open(baseURL);
  const model = chat(asked.model);
  const real = open(baseURL.replace(asked.root, asked.real_root)).chat(asked.real_model);

  async function refusal(wrong: object) {
    try {
      await generateText({ model, prompt, maxRetries: 0, ...wrong });
    } catch (error) {
      if (!APICallError.isInstance(error)) throw error;
      const told = JSON.parse(error.responseBody!).error;
      return [error.statusCode, told.code, told.param];
    }
  }

  return {
    // A completion model turns a prompt into a transcript, and is told to stop where the next turn begins.
    completion: async () => whole({ model: text(asked.model), prompt, maxOutputTokens: 50 }),
    "completion stream": async () => streamed({ model: text(asked.model), prompt, maxOutputTokens: 50 }),
    chat: async () => whole({ model, prompt, ...limits }),
    "chat stream": async () => streamed({ model, prompt, ...limits }),
    "unknown model": () => refusal({ model: chat("other") }),
    "bad value": () => refusal({ temperature: 3 }),
    "prompt too long": () => refusal({ prompt: asked.long }),
    // All at once: between attempts this client waits for seconds.
    retries: async () => {
      const all = Object.entries(asked.refused).map(async ([status, prompt]) => [
        status,
        (await generateText({ model, prompt })).text,
      ]);
      return Object.fromEntries(await Promise.all(all));
    },
    "broken stream": async () => {
      let said = "";
      let failure: unknown = null;
      for await (const part of streamText({ model, prompt: asked.broken, onError: () => {} }).fullStream) {
        if (part.type === "text-delta") said += part.text;
        if (part.type === "error") failure = part.error;
      }
      return { text: said, error: String((failure as Error)?.message ?? failure) };
    },
    "replayed message": async () => {
      const first = { role: "user" as const, content: "say: first" };
      const { response } = await generateText({ model, messages: [first] });
      const turns = [first, ...response.messages, { role: "user" as const, content: "say: second" }];
      return (await generateText({ model, messages: turns })).text;
    },
    "fields beyond the SDK": async () => {
      const more = { top_k: 5, min_p: 0.1, repetition_penalty: 1.1, include_stop_str_in_output: true };
      const providerOptions = { fireworks: more, crossette: more }; // each provider takes those of its own name
      return (await generateText({ model, prompt, ...limits, providerOptions })).text;
    },
    "real model": async () => {
      const settings = { model: real, prompt: asked.question, temperature: 0, maxOutputTokens: 16 };
      return [(await whole(settings)).text, (await streamed(settings)).text];
    },
    ...toolScenarios(model, real, plain(asked.model)),
  };
}

async function whole(settings: Parameters<typeof generateText>[0]) {
  const { text, finishReason, usage } = await generateText(settings);
  return answer(text, finishReason, [usage.inputTokens, usage.outputTokens]);
}

async function streamed(settings: Parameters<typeof streamText>[0]) {
  const result = streamText(settings);
  let text = "";
  for await (const piece of result.textStream) text += piece;
  const usage = await result.usage;
  return answer(text, await result.finishReason, [usage.inputTokens, usage.outputTokens]);
}

const providers = { fireworks, compatible };
const open = providers[process.argv[3] as keyof typeof providers];
await tell(["/v1", "/inference/v1"], (baseURL) => scenarios(open, baseURL));
