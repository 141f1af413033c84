import { json } from "../api/client.ts";
import type { JsonObject } from "../api/types.ts";

export const LIMITS = {
  requests_per_minute: "Requests per minute",
  prompt_tokens_per_minute: "Prompt tokens per minute",
  cached_tokens_per_minute: "Cached tokens per minute",
  generated_tokens_per_minute: "Generated tokens per minute",
  concurrent_requests: "Requests at the same time",
  total_tokens: "Tokens in all",
} as const;

export type LimitName = keyof typeof LIMITS;

export interface Key {
  id: string;
  name: string;
  state: "active" | "expired" | "revoked";
  is_admin: boolean;
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
  previous_secret_until: number | null;
  models: string[] | null;
  limits: Record<LimitName, number | null>;
  used_tokens: number;
}

export interface SecretKey extends Key {
  key: string;
}

const PATH = "admin/keys";

export async function listKeys(): Promise<Key[]> {
  return (await json<{ data: Key[] }>(PATH)).data;
}

export function createKey(body: JsonObject): Promise<SecretKey> {
  return json(PATH, { body });
}

export function updateKey(key: Key, body: JsonObject): Promise<Key> {
  return json(`${PATH}/${key.id}`, { body });
}

export function rotateKey(key: Key, overlap: string): Promise<SecretKey> {
  return json(`${PATH}/${key.id}/rotate`, { body: { overlap } });
}

export function revokeKey(key: Key): Promise<Key> {
  return json(`${PATH}/${key.id}/revoke`, { method: "POST" });
}
