import { type Signal, signal } from "@preact/signals";
import type { Chunk, ChunkChoice, TokenDetail, TokenLogprob, ToolCallDelta, TopLogprob, Usage } from "../api/types.ts";
import { Growing } from "./growing.ts";

export interface Token {
  id: number | null;
  text: string;
  bytes: number[];
  logprob: number;
  samplingLogprob: number | null;
  alternatives: TopLogprob[];
  /** Seconds since the request arrived; null if it is not known. */
  time: number | null;
  isAcceptedDraft: boolean;
}

export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

export class Choice {
  readonly content: Growing;
  readonly reasoning: Growing;
  readonly calls: ToolCall[] = [];
  readonly tokens: Token[] = [];
  finishReason: string | null = null;

  constructor(content = "", reasoning = "") {
    this.content = Growing.of(content);
    this.reasoning = Growing.of(reasoning);
  }

  add(chunk: ChunkChoice): void {
    const { delta } = chunk;
    this.content.push(chunk.text ?? delta?.content ?? "");
    this.reasoning.push(delta?.reasoning_content ?? "");
    for (const call of delta?.tool_calls ?? []) this.addCall(call);
    if (chunk.logprobs) this.tokens.push(...tokensOf(chunk.logprobs.content, chunk.token_ids, chunk.token_details));
    if (chunk.finish_reason) this.finishReason = chunk.finish_reason;
  }

  private addCall(delta: ToolCallDelta): void {
    const index = delta.index ?? this.calls.length;
    const call = this.calls[index] ?? { id: "", name: "", arguments: "" };
    this.calls[index] = {
      id: delta.id ?? call.id,
      name: delta.function?.name ?? call.name,
      arguments: call.arguments + (delta.function?.arguments ?? ""),
    };
  }
}

export function tokensOf(entries: TokenLogprob[], ids?: number[], details?: TokenDetail[]): Token[] {
  return entries.map((entry, index) => ({
    id: entry.token_id ?? ids?.[index] ?? null,
    text: entry.token,
    bytes: entry.bytes,
    logprob: entry.logprob,
    samplingLogprob: entry.sampling_logprob ?? null,
    alternatives: entry.top_logprobs,
    time: details?.[index]?.time ?? null,
    isAcceptedDraft: details?.[index]?.accepted_draft ?? false,
  }));
}

export type Status = "waiting" | "streaming" | "done" | "stopped" | "failed";

/** An answer that arrives. Its parts change in place; `version` says that they have. */
export class Answer {
  readonly choices: Choice[] = [];
  readonly version: Signal<number> = signal(0);
  readonly begun = performance.now();
  status: Status = "waiting";
  error = "";
  errorParam: string | null = null;
  usage: Usage | null = null;
  promptIds: number[] | null = null;
  promptTokens: Token[] | null = null;
  firstTokenMs: number | null = null;
  totalMs: number | null = null;

  get isRunning(): boolean {
    return this.status === "waiting" || this.status === "streaming";
  }

  add(chunk: Chunk): void {
    this.promptIds ??= chunk.prompt_token_ids ?? null;
    this.usage = chunk.usage ?? this.usage;
    for (const choice of chunk.choices) {
      this.choice(choice.index).add(choice);
      if (this.firstTokenMs === null && hasText(choice)) this.firstTokenMs = performance.now() - this.begun;
    }
    if (this.status === "waiting") this.status = "streaming";
    this.touch();
  }

  choice(index: number): Choice {
    while (this.choices.length <= index) this.choices.push(new Choice());
    return this.choices[index] as Choice;
  }

  end(status: Status, error = "", param: string | null = null): void {
    this.status = status;
    this.error = error;
    this.errorParam = param;
    this.totalMs = performance.now() - this.begun;
    this.touch();
  }

  touch(): void {
    this.version.value += 1;
  }
}

function hasText({ text, delta }: ChunkChoice): boolean {
  return Boolean(text || delta?.content || delta?.reasoning_content || delta?.tool_calls);
}
