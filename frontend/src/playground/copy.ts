import { url } from "../api/client.ts";
import { BASE, type DialectName, type Json, type JsonObject } from "../api/types.ts";
import type { Mode } from "./settings.ts";

/** The same request as a program of each client. */

export type Client = "curl" | "openai-python" | "openai-typescript" | "fireworks-python";

export const CLIENTS: Record<Client, string> = {
  curl: "curl",
  "openai-python": "Python (openai)",
  "openai-typescript": "TypeScript (openai)",
  "fireworks-python": "Python (fireworks-ai)",
};

/** The fields of OpenAI's API: its Python client takes all others as `extra_body`. */
const OPENAI_FIELDS = new Set([
  ...["model", "messages", "prompt", "stream", "stream_options", "temperature", "top_p", "n", "stop", "seed"],
  ...["max_tokens", "max_completion_tokens", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs"],
  ...["top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "response_format", "user", "metadata"],
  ...["reasoning_effort", "service_tier", "prediction", "echo", "suffix", "best_of", "prompt_cache_key"],
]);

export function program(client: Client, dialect: DialectName, mode: Mode, body: JsonObject): string {
  const streamed = { ...body, stream: true };
  switch (client) {
    case "curl":
      return curl(url(`${BASE[dialect]}/${mode === "chat" ? "chat/completions" : "completions"}`), streamed);
    case "openai-python":
      return python("openai", "OpenAI", url(BASE[dialect]), mode, streamed);
    case "fireworks-python":
      return python("fireworks", "Fireworks", url("inference"), mode, streamed);
    case "openai-typescript":
      return typescript(url(BASE[dialect]), mode, streamed);
  }
}

function curl(address: string, body: JsonObject): string {
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return [
    `curl -N ${address} \\`,
    `  -H "authorization: Bearer $CROSSETTE_API_KEY" \\`,
    "  -H 'content-type: application/json' \\",
    `  -d '${quoted}'`,
  ].join("\n");
}

function python(module: string, name: string, base: string, mode: Mode, body: JsonObject): string {
  const known = Object.entries(body).filter(([field]) => OPENAI_FIELDS.has(field));
  const others = Object.entries(body).filter(([field]) => !OPENAI_FIELDS.has(field));
  const lines = known.map(([field, value]) => `    ${field}=${pythonValue(value, "    ")},`);
  if (others.length) lines.push(`    extra_body=${pythonValue(Object.fromEntries(others), "    ")},`);
  const text = mode === "chat" ? "chunk.choices[0].delta.content" : "chunk.choices[0].text";
  const call = mode === "chat" ? "chat.completions" : "completions";
  return [
    "import os",
    "",
    `from ${module} import ${name}`,
    "",
    `client = ${name}(base_url="${base}", api_key=os.environ.get("CROSSETTE_API_KEY", "none"))`,
    `stream = client.${call}.create(`,
    ...lines,
    ")",
    "for chunk in stream:",
    "    if chunk.choices:",
    `        print(${text} or "", end="", flush=True)`,
  ].join("\n");
}

function pythonValue(value: Json | undefined, indent: string): string {
  const inner = `${indent}    `;
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) {
    if (!value.length) return "[]";
    return `[\n${value.map((item) => `${inner}${pythonValue(item, inner)},`).join("\n")}\n${indent}]`;
  }
  if (typeof value === "object") {
    const items = Object.entries(value).map(
      ([name, item]) => `${inner}${JSON.stringify(name)}: ${pythonValue(item, inner)},`,
    );
    return items.length ? `{\n${items.join("\n")}\n${indent}}` : "{}";
  }
  return JSON.stringify(value);
}

function typescript(base: string, mode: Mode, body: JsonObject): string {
  const [call, params] =
    mode === "chat"
      ? ["chat.completions", "Chat.ChatCompletionCreateParamsStreaming"]
      : ["completions", "CompletionCreateParamsStreaming"];
  const text = mode === "chat" ? "chunk.choices[0]?.delta.content" : "chunk.choices[0]?.text";
  return [
    'import OpenAI from "openai";',
    "",
    `const client = new OpenAI({ baseURL: "${base}", apiKey: process.env.CROSSETTE_API_KEY ?? "none" });`,
    `const body = ${JSON.stringify(body, null, 2)};`,
    `const stream = await client.${call}.create(body as unknown as OpenAI.${params});`,
    "for await (const chunk of stream) {",
    `  process.stdout.write(${text} ?? "");`,
    "}",
  ].join("\n");
}
