import { json } from "./client.ts";
import type { Json } from "./types.ts";

/** A request field of /openapi.json, as a control of the page shows it. */
export interface Field {
  name: string;
  kind: "number" | "integer" | "boolean" | "choice" | "text" | "list" | "json";
  note: string;
  minimum?: number;
  maximum?: number;
  options?: string[];
}

interface Schema {
  type?: string;
  description?: string;
  enum?: Json[];
  const?: Json;
  anyOf?: Schema[];
  items?: Schema;
  minimum?: number;
  maximum?: number;
  properties?: Record<string, Schema>;
}

interface Description {
  components: { schemas: Record<string, Schema> };
}

/** Fields that have controls of their own on the page, or that the page sets. */
const ELSEWHERE = new Set([
  ...["model", "messages", "prompt", "stream", "stream_options", "tools", "tool_choice", "response_format"],
  ...["functions", "function_call", "logprobs", "return_token_ids", "return_token_details", "continue_token_ids"],
  ...["prompt_token_ids", "images"],
]);
const UNSUPPORTED = "Not supported.";

export interface Fields {
  chat: Field[];
  completion: Field[];
}

/** The fields of both endpoints. A field that a later server adds appears by itself. */
export async function loadFields(): Promise<Fields> {
  const { schemas } = (await json<Description>("openapi.json")).components;
  return { chat: fieldsOf(schemas.ChatRequest), completion: fieldsOf(schemas.CompletionRequest) };
}

function fieldsOf(schema: Schema | undefined): Field[] {
  return Object.entries(schema?.properties ?? {})
    .filter(([name, field]) => !ELSEWHERE.has(name) && !field.description?.startsWith(UNSUPPORTED))
    .map(([name, field]) => fieldOf(name, field));
}

function fieldOf(name: string, schema: Schema): Field {
  const shapes = (schema.anyOf ?? [schema]).filter((shape) => shape.type !== "null");
  const options = shapes.flatMap((shape) => (shape.enum ?? []).filter((value) => typeof value === "string"));
  const field: Field = { name, note: schema.description ?? "", kind: kindOf(shapes, options.length > 0) };
  if (options.length) field.options = options;
  const limits = [schema, ...shapes];
  const minimum = limits.map((limit) => limit.minimum).find((value) => value !== undefined);
  const maximum = limits.map((limit) => limit.maximum).find((value) => value !== undefined);
  if (minimum !== undefined) field.minimum = minimum;
  if (maximum !== undefined) field.maximum = maximum;
  return field;
}

function kindOf(shapes: Schema[], isChoice: boolean): Field["kind"] {
  const types = new Set(shapes.map((shape) => shape.type));
  const isOnly = (type: string) => types.size === 1 && types.has(type);
  if (isChoice && isOnly("string")) return "choice";
  if (isOnly("boolean")) return "boolean";
  if (isOnly("integer")) return "integer";
  if (isOnly("number") || (types.has("number") && types.has("integer") && types.size === 2)) return "number";
  if (isOnly("string")) return "text";
  const isList = shapes.some((shape) => shape.type === "array" && shape.items?.type === "string");
  if (isList && [...types].every((type) => type === "array" || type === "string")) return "list";
  return "json";
}

/** What a control holds, as the field's JSON value; undefined for an empty one. Throws Error for a wrong notation. */
export function fieldValue(field: Field, text: string): Json | undefined {
  if (!text.trim()) return undefined;
  switch (field.kind) {
    case "number":
    case "integer":
      return numberOf(field, text);
    case "boolean":
      return text === "true";
    case "list":
      return text.split("\n").filter((line) => line !== "");
    case "json":
      return jsonOf(field.name, text);
    default:
      return text;
  }
}

function numberOf(field: Field, text: string): number {
  const value = Number(text);
  if (Number.isNaN(value)) throw new Error(`${field.name} is a number, not “${text}”.`);
  return value;
}

export function jsonOf(name: string, text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    throw new Error(`${name} is not JSON: ${(error as Error).message}`);
  }
}
