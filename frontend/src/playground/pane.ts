import { computed, type Signal, signal } from "@preact/signals";
import { ApiError, json, messageOf } from "../api/client.ts";
import { events } from "../api/events.ts";
import type { Fields } from "../api/fields.ts";
import { BASE, type Chunk, type ErrorBody, type JsonObject, type TokenLogprob } from "../api/types.ts";
import { Answer, tokensOf } from "./answer.ts";
import { bodyOf, type Settings } from "./settings.ts";

export interface UserTurn {
  kind: "user";
  text: string;
}
export interface ToolTurn {
  kind: "tool";
  results: { id: string; name: string; content: string }[];
}
export interface AnswerTurn {
  kind: "answer";
  /** All answers to the same conversation: the first one, and those made from another token or again. */
  variants: Answer[];
  shown: number;
}
export type Turn = UserTurn | ToolTurn | AnswerTurn;

/** One conversation with its settings. A comparison has two of them. */
export class Pane {
  readonly settings: Signal<Settings>;
  readonly turns: Signal<Turn[]>;
  readonly running = signal<AbortController | null>(null);
  readonly isRunning = computed(() => this.running.value !== null);
  private readonly fields: Signal<Fields | null>;

  constructor(settings: Settings, turns: Turn[], fields: Signal<Fields | null>) {
    this.settings = signal(settings);
    this.turns = signal(turns);
    this.fields = fields;
  }

  update(changes: Partial<Settings>): void {
    this.settings.value = { ...this.settings.value, ...changes };
  }

  get path(): string {
    const { dialect, mode } = this.settings.value;
    return `${BASE[dialect]}/${mode === "chat" ? "chat/completions" : "completions"}`;
  }

  get lastAnswer(): Answer | null {
    const turn = this.turns.value.findLast((one) => one.kind === "answer");
    return turn?.kind === "answer" ? shownOf(turn) : null;
  }

  send(text: string): Promise<void> {
    return this.answer([...this.turns.value, { kind: "user", text }]);
  }

  sendResults(results: ToolTurn["results"]): Promise<void> {
    return this.answer([...this.turns.value, { kind: "tool", results }]);
  }

  /** Answer the last prompt again, beside the answers that it has. */
  again(): Promise<void> {
    return this.variant({});
  }

  /** Answer again from a token on: the tokens before it, and another one in its place. */
  branch(turn: AnswerTurn, choice: number, position: number, id: number): Promise<void> {
    const ids = shownOf(turn)
      .choice(choice)
      .tokens.slice(0, position)
      .map((token) => token.id);
    return this.variant({ continue_token_ids: [...(ids as number[]), id], n: 1 }, turn);
  }

  stop(): void {
    this.running.value?.abort();
  }

  clear(): void {
    this.stop();
    this.turns.value = [];
  }

  show(turn: AnswerTurn, shown: number): void {
    this.replace(turn, { ...turn, shown });
  }

  /** The body of a request for these turns. Throws Error for settings that are no JSON. */
  body(turns: Turn[], more: JsonObject = {}): JsonObject {
    const settings = this.settings.value;
    const fields = this.fields.value;
    if (!fields) throw new Error("The fields of requests are not loaded yet.");
    const prompt = settings.mode === "chat" ? { messages: messagesOf(settings, turns) } : { prompt: promptOf(turns) };
    return { ...bodyOf(settings, fields), ...prompt, ...more } as JsonObject;
  }

  /** Read the tokens of the prompt with their probabilities, which computes it once more without an answer. */
  async scorePrompt(turn: AnswerTurn): Promise<void> {
    const answer = shownOf(turn);
    const before = this.turns.value.slice(0, this.turns.value.indexOf(turn));
    const { max_completion_tokens: _, n: __, stream: ___, ...body } = this.body(before);
    const scored = { ...body, echo: true, max_tokens: 0, logprobs: true, top_logprobs: 5, return_token_ids: true };
    const found = await json<Scored>(this.path, { body: scored });
    const choice = found.choices[0];
    answer.promptTokens = tokensOf(choice?.logprobs?.content ?? [], choice?.token_ids);
    answer.touch();
  }

  private async variant(more: JsonObject, given?: AnswerTurn): Promise<void> {
    const turn = given ?? this.turns.value.findLast((one): one is AnswerTurn => one.kind === "answer");
    if (!turn) return;
    this.stop();
    const index = this.turns.value.indexOf(turn);
    const before = this.turns.value.slice(0, index);
    const answer = new Answer();
    const variants = [...turn.variants, answer];
    this.turns.value = [...before, { kind: "answer", variants, shown: variants.length - 1 }];
    await this.run(answer, before, more);
  }

  private async answer(turns: Turn[]): Promise<void> {
    this.stop();
    const answer = new Answer();
    this.turns.value = [...turns, { kind: "answer", variants: [answer], shown: 0 }];
    await this.run(answer, turns, {});
  }

  private async run(answer: Answer, turns: Turn[], more: JsonObject): Promise<void> {
    const aborting = new AbortController();
    this.running.value = aborting;
    try {
      const body = this.body(turns, { ...more, stream: true, stream_options: { include_usage: true } });
      for await (const chunk of events<Chunk>(this.path, { body, signal: aborting.signal })) {
        if (chunk.error) throw new ApiError(200, chunk.error as ErrorBody);
        answer.add(chunk);
      }
      answer.end("done");
    } catch (error) {
      if (aborting.signal.aborted) answer.end("stopped");
      else answer.end("failed", messageOf(error), error instanceof ApiError ? error.param : null);
    } finally {
      if (this.running.value === aborting) this.running.value = null;
    }
  }

  private replace(turn: Turn, by: Turn): void {
    this.turns.value = this.turns.value.map((one) => (one === turn ? by : one));
  }
}

interface Scored {
  choices: { logprobs?: { content: TokenLogprob[] } | null; token_ids?: number[] }[];
}

export function shownOf(turn: AnswerTurn): Answer {
  return turn.variants[turn.shown] as Answer;
}

function messagesOf(settings: Settings, turns: Turn[]): JsonObject[] {
  const messages: JsonObject[] = settings.system.trim() ? [{ role: "system", content: settings.system }] : [];
  for (const turn of turns) {
    if (turn.kind === "user") messages.push({ role: "user", content: turn.text });
    else if (turn.kind === "tool")
      for (const { id, content } of turn.results) messages.push({ role: "tool", tool_call_id: id, content });
    else messages.push(assistantMessage(shownOf(turn)));
  }
  return messages;
}

function assistantMessage(answer: Answer): JsonObject {
  const choice = answer.choice(0);
  const message: JsonObject = { role: "assistant", content: choice.content.text };
  if (choice.calls.length)
    message.tool_calls = choice.calls.map(({ id, name, arguments: given }) => ({
      id,
      type: "function",
      function: { name, arguments: given },
    }));
  return message;
}

function promptOf(turns: Turn[]): string {
  const last = turns.findLast((turn) => turn.kind === "user");
  return last?.kind === "user" ? last.text : "";
}
