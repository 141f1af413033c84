import type { Json, JsonObject } from "../api/types.ts";
import type { Mode } from "./settings.ts";

export type PythonClient = "openai" | "fireworks";

const NAMES: Record<PythonClient, string> = { openai: "OpenAI", fireworks: "Fireworks" };

/** The parameters of each client's methods. What is not in its list goes into `extra_body`, as a method refuses it. */
const COMMON = [
  ...["model", "stream", "temperature", "top_p", "n", "stop", "seed", "max_tokens", "frequency_penalty"],
  ...["presence_penalty", "logit_bias", "logprobs", "user"],
];
const CHAT = [
  ...["messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls"],
  ...["response_format", "metadata", "reasoning_effort", "service_tier", "prediction", "prompt_cache_key"],
];
const FIREWORKS = [
  ...["top_k", "min_p", "typical_p", "mirostat_target", "mirostat_lr", "repetition_penalty", "ignore_eos"],
  ...["top_logprobs", "return_token_ids", "echo"],
];
const PARAMETERS: Record<PythonClient, Record<Mode, Set<string>>> = {
  openai: {
    chat: new Set([...COMMON, ...CHAT]),
    completion: new Set([...COMMON, "prompt", "echo", "suffix", "best_of"]),
  },
  fireworks: {
    chat: new Set([...COMMON, ...CHAT, ...FIREWORKS]),
    completion: new Set([...COMMON, "prompt", "response_format", ...FIREWORKS]),
  },
};

/** The request as a program of a Python client. */
export function python(client: PythonClient, base: string, mode: Mode, body: JsonObject): string {
  const name = NAMES[client];
  return [
    "import os",
    "",
    `from ${client} import ${name}`,
    "",
    `client = ${name}(base_url=${value(base, "")}, api_key=os.environ.get("CROSSETTE_API_KEY", "none"))`,
    `stream = client.${mode === "chat" ? "chat.completions" : "completions"}.create(`,
    ...argumentsOf(PARAMETERS[client][mode], body),
    ")",
    ...(Number(body.n) > 1 ? readSeveral(mode, Number(body.n)) : readOne(mode, body)),
  ].join("\n");
}

function argumentsOf(parameters: Set<string>, body: JsonObject): string[] {
  const known = Object.entries(body).filter(([field]) => parameters.has(field));
  const others = Object.entries(body).filter(([field]) => !parameters.has(field));
  const lines = known.map(([field, given]) => `    ${field}=${value(given, "    ")},`);
  if (others.length) lines.push(`    extra_body=${value(Object.fromEntries(others), "    ")},`);
  return lines;
}

function textOf(mode: Mode): string {
  return mode === "chat" ? "choice.delta.content" : "choice.text";
}

function readOne(mode: Mode, body: JsonObject): string[] {
  const calls = [
    "        for call in choice.delta.tool_calls or []:",
    '            print(call.function.name or "", call.function.arguments or "", sep="", end="", flush=True)',
  ];
  return [
    "for chunk in stream:",
    "    for choice in chunk.choices:",
    `        print(${textOf(mode)} or "", end="", flush=True)`,
    ...(body.tools ? calls : []),
  ];
}

function readSeveral(mode: Mode, count: number): string[] {
  return [
    `texts = [""] * ${count}`,
    "for chunk in stream:",
    "    for choice in chunk.choices:",
    `        texts[choice.index] += ${textOf(mode)} or ""`,
    'print(*texts, sep="\\n\\n")',
  ];
}

function value(given: Json | undefined, indent: string): string {
  const inner = `${indent}    `;
  if (given === null || given === undefined) return "None";
  if (typeof given === "boolean") return given ? "True" : "False";
  if (Array.isArray(given)) {
    if (!given.length) return "[]";
    return `[\n${given.map((item) => `${inner}${value(item, inner)},`).join("\n")}\n${indent}]`;
  }
  if (typeof given === "object") {
    const items = Object.entries(given).map(
      ([name, item]) => `${inner}${JSON.stringify(name)}: ${value(item, inner)},`,
    );
    return items.length ? `{\n${items.join("\n")}\n${indent}}` : "{}";
  }
  return JSON.stringify(given);
}
