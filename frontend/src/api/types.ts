/** The parts of the HTTP API that the pages read. /openapi.json describes all of it. */

export type DialectName = "openai" | "fireworks";

export const BASE: Record<DialectName, string> = { openai: "v1", fireworks: "inference/v1" };

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export interface ModelEntry {
  id: string;
  root: string;
  state: string;
  error?: string;
  parent?: string;
  context_length?: number;
  embedding_dimensions?: number;
  supports_chat?: boolean;
  supports_tools?: boolean;
  supports_image_input?: boolean;
}

export interface TopLogprob {
  token: string;
  logprob: number;
  bytes: number[];
  token_id?: number;
}

export interface TokenLogprob extends TopLogprob {
  sampling_logprob?: number | null;
  top_logprobs: TopLogprob[];
}

export interface TokenDetail {
  id: number;
  time: number | null;
  accepted_draft: boolean;
}

export interface ToolCallDelta {
  index?: number;
  id?: string;
  function?: { name?: string; arguments?: string };
}

export interface ChunkChoice {
  index: number;
  text?: string;
  delta?: { content?: string | null; reasoning_content?: string | null; tool_calls?: ToolCallDelta[] };
  finish_reason?: string | null;
  logprobs?: { content: TokenLogprob[] } | null;
  token_ids?: number[];
  token_details?: TokenDetail[];
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  prompt_tokens_details?: { cached_tokens: number };
  completion_tokens_details?: { accepted_prediction_tokens?: number; reasoning_tokens?: number };
}

export interface Chunk {
  choices: ChunkChoice[];
  usage?: Usage | null;
  prompt_token_ids?: number[];
  error?: ErrorBody;
}

export interface ErrorBody {
  message: string;
  type?: string;
  param?: string | null;
  code?: string | null;
}
