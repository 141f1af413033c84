import { signal } from "@preact/signals";
import type { ErrorBody, Json } from "./types.ts";

const ROOT = new URL(".", document.baseURI);
const STORED = "crossette-key";

/** The API key. It stays in the tab: no other one reads it, and it is gone once the tab is closed. */
export const key = signal(sessionStorage.getItem(STORED) ?? "");
/** Whether the server has refused a request for lack of a valid key. */
export const needsKey = signal(false);
/** Whether the last request did not reach the server. */
export const isOffline = signal(false);

export function setKey(text: string): void {
  key.value = text.trim();
  if (key.value) sessionStorage.setItem(STORED, key.value);
  else sessionStorage.removeItem(STORED);
  needsKey.value = false;
}

export class ApiError extends Error {
  readonly status: number;
  readonly param: string | null;
  readonly code: string | null;

  constructor(status: number, body: ErrorBody) {
    super(body.message);
    this.status = status;
    this.param = body.param ?? null;
    this.code = body.code ?? null;
  }
}

export class Offline extends Error {
  constructor() {
    super("The server cannot be reached. Is it running, and is this device connected?");
  }
}

export function url(path: string): string {
  return new URL(path.replace(/^\//, ""), ROOT).href;
}

export interface RequestOptions {
  body?: Json | undefined;
  method?: string;
  signal?: AbortSignal;
}

/** The response of a request. Throws ApiError for an error status, and Offline. */
export async function request(path: string, options: RequestOptions = {}): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (key.value) headers.authorization = `Bearer ${key.value}`;
  const init: RequestInit = { method: options.method ?? "GET", headers, credentials: "omit", cache: "no-store" };
  if (options.signal) init.signal = options.signal;
  if (options.body !== undefined) {
    init.method = options.method ?? "POST";
    init.body = JSON.stringify(options.body);
    headers["content-type"] = "application/json";
  }
  const response = await reach(url(path), init);
  if (response.ok) return response;
  if (response.status === 401) needsKey.value = true;
  throw new ApiError(response.status, await errorOf(response));
}

export async function json<T>(path: string, options: RequestOptions = {}): Promise<T> {
  return (await request(path, options)).json();
}

async function reach(address: string, init: RequestInit): Promise<Response> {
  try {
    const response = await fetch(address, init);
    isOffline.value = false;
    return response;
  } catch (error) {
    if (init.signal?.aborted) throw error;
    isOffline.value = true;
    throw new Offline();
  }
}

async function errorOf(response: Response): Promise<ErrorBody> {
  try {
    const body = (await response.json()) as { error?: ErrorBody };
    if (body.error) return body.error;
  } catch {
    // A proxy may answer with a page of its own: its status is all that is known.
  }
  return { message: `The server answered with status ${response.status}.` };
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
