import { url } from "../api/client.ts";
import { BASE, type DialectName, type JsonObject } from "../api/types.ts";
import { python } from "./copy-python.ts";
import type { Mode } from "./settings.ts";

/** The same request as a program of each client. */

export type Client = "curl" | "openai-python" | "openai-typescript" | "fireworks-python";

export const CLIENTS: Record<Client, string> = {
  curl: "curl",
  "openai-python": "Python (openai)",
  "openai-typescript": "TypeScript (openai)",
  "fireworks-python": "Python (fireworks-ai)",
};

export function program(client: Client, dialect: DialectName, mode: Mode, body: JsonObject): string {
  const streamed = { ...body, stream: true };
  switch (client) {
    case "curl":
      return curl(url(`${BASE[dialect]}/${mode === "chat" ? "chat/completions" : "completions"}`), streamed);
    case "openai-python":
      return python("openai", url(BASE[dialect]), mode, streamed);
    case "fireworks-python":
      return python("fireworks", url("inference"), mode, streamed);
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

function typescript(base: string, mode: Mode, body: JsonObject): string {
  const [call, params] =
    mode === "chat"
      ? ["chat.completions", "Chat.ChatCompletionCreateParamsStreaming"]
      : ["completions", "CompletionCreateParamsStreaming"];
  return [
    'import OpenAI from "openai";',
    "",
    `const client = new OpenAI({ baseURL: "${base}", apiKey: process.env.CROSSETTE_API_KEY ?? "none" });`,
    `const body = ${JSON.stringify(body, null, 2)};`,
    `const stream = await client.${call}.create(body as unknown as OpenAI.${params});`,
    ...(Number(body.n) > 1 ? readSeveral(mode, Number(body.n)) : readOne(mode, body)),
  ].join("\n");
}

function textOf(mode: Mode): string {
  return mode === "chat" ? "choice.delta.content" : "choice.text";
}

function readOne(mode: Mode, body: JsonObject): string[] {
  const calls = [
    "    for (const { function: called } of choice.delta.tool_calls ?? []) {",
    '      process.stdout.write((called?.name ?? "") + (called?.arguments ?? ""));',
    "    }",
  ];
  return [
    "for await (const chunk of stream) {",
    "  for (const choice of chunk.choices) {",
    `    process.stdout.write(${textOf(mode)} ?? "");`,
    ...(body.tools ? calls : []),
    "  }",
    "}",
  ];
}

function readSeveral(mode: Mode, count: number): string[] {
  return [
    `const texts = Array<string>(${count}).fill("");`,
    "for await (const chunk of stream) {",
    `  for (const choice of chunk.choices) texts[choice.index] += ${textOf(mode)} ?? "";`,
    "}",
    'console.log(texts.join("\\n\\n"));',
  ];
}
