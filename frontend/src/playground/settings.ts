import { type Fields, fieldValue, jsonOf } from "../api/fields.ts";
import type { DialectName, Json, JsonObject } from "../api/types.ts";

export type Mode = "chat" | "completion";

export interface Settings {
  model: string;
  dialect: DialectName;
  mode: Mode;
  system: string;
  /** The text of each control, by the name of its field; one that is empty is not sent. */
  fields: Record<string, string>;
  tools: string;
  toolChoice: string;
  format: "text" | "json_object" | "json_schema";
  schema: string;
  /** Whether tokens are requested with their probabilities and times. */
  tokens: boolean;
}

export const DEFAULTS: Settings = {
  model: "",
  dialect: "openai",
  mode: "chat",
  system: "",
  fields: {},
  tools: "",
  toolChoice: "",
  format: "text",
  schema: "",
  tokens: true,
};

export const TOP_LOGPROBS = 5;

/** The body of a request without its prompt. Throws Error for a control whose text is no value of its field. */
export function bodyOf(settings: Settings, fields: Fields): JsonObject {
  const body: JsonObject = { model: settings.model };
  for (const field of fields[settings.mode]) {
    const value = fieldValue(field, settings.fields[field.name] ?? "");
    if (value !== undefined) body[field.name] = value;
  }
  if (settings.tokens) {
    const details = { logprobs: true, return_token_ids: true, return_token_details: true };
    Object.assign(body, { top_logprobs: TOP_LOGPROBS, ...details, ...body });
  } else if ("top_logprobs" in body) body.logprobs = true;
  if (settings.mode === "chat" && settings.tools.trim()) {
    body.tools = jsonOf("tools", settings.tools);
    if (settings.toolChoice) body.tool_choice = choiceOf(settings.toolChoice);
  }
  const format = formatOf(settings);
  if (format) body.response_format = format;
  return body;
}

function choiceOf(text: string): Json {
  return text.startsWith("{") ? jsonOf("tool_choice", text) : text;
}

function formatOf({ format, schema }: Settings): Json | undefined {
  if (format === "text") return undefined;
  if (format === "json_object") return { type: "json_object" };
  return { type: "json_schema", json_schema: { name: "answer", schema: jsonOf("The schema", schema || "{}") } };
}

/** Fields of free text: links leave them out, as they may have content of a conversation. */
const SHARED_KINDS = new Set(["number", "integer", "boolean", "choice"]);

/** The settings that a link has: no prompt, no schema, no tool, no other text. */
export function linkOf(settings: Settings, fields: Fields): string {
  const kinds = new Map(fields[settings.mode].map((field) => [field.name, field.kind]));
  const shared = Object.entries(settings.fields).filter(
    ([name, text]) => text && SHARED_KINDS.has(kinds.get(name) ?? ""),
  );
  const { model, dialect, mode, tokens } = settings;
  const query = new URLSearchParams({ model, dialect, mode, tokens: String(tokens), ...Object.fromEntries(shared) });
  const address = new URL(location.href);
  address.hash = query.toString();
  return address.href;
}

export function fromLink(hash: string): Partial<Settings> {
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  if (!query.size) return {};
  const { model, dialect, mode, tokens, ...fields } = Object.fromEntries(query);
  const found: Partial<Settings> = { fields };
  if (model) found.model = model;
  if (dialect === "openai" || dialect === "fireworks") found.dialect = dialect;
  if (mode === "chat" || mode === "completion") found.mode = mode;
  if (tokens) found.tokens = tokens === "true";
  return found;
}
