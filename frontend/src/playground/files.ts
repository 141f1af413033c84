import type { ToolCall } from "./answer.ts";
import { Answer } from "./answer.ts";
import { type AnswerTurn, shownOf, type Turn } from "./pane.ts";
import { DEFAULTS, type Settings } from "./settings.ts";

const FORMAT = "crossette-conversation-1";

interface SavedAnswer {
  kind: "answer";
  choices: { content: string; reasoning: string; calls: ToolCall[]; finishReason: string | null }[];
}
type SavedTurn = Exclude<Turn, AnswerTurn> | SavedAnswer;

interface Saved {
  format: typeof FORMAT;
  settings: Settings;
  turns: SavedTurn[];
}

/** A conversation as the text of a file. It has the shown answers without their tokens, and no key. */
export function savedText(settings: Settings, turns: Turn[]): string {
  const saved: Saved = { format: FORMAT, settings, turns: turns.map(savedTurn) };
  return `${JSON.stringify(saved, null, 2)}\n`;
}

function savedTurn(turn: Turn): SavedTurn {
  if (turn.kind !== "answer") return turn;
  const choices = shownOf(turn).choices.map(({ content, reasoning, calls, finishReason }) => ({
    content: content.text,
    reasoning: reasoning.text,
    calls,
    finishReason,
  }));
  return { kind: "answer", choices };
}

/** What a file has. Throws Error for a text that `savedText` did not write. */
export function opened(text: string): { settings: Settings; turns: Turn[] } {
  const saved = parsed(text);
  return { settings: { ...DEFAULTS, ...saved.settings }, turns: saved.turns.map(openedTurn) };
}

function parsed(text: string): Saved {
  try {
    const saved = JSON.parse(text) as Saved;
    if (saved.format === FORMAT && Array.isArray(saved.turns)) return saved;
  } catch {
    // The message below says what is wrong.
  }
  throw new Error("This file is not a conversation that was saved here.");
}

function openedTurn(turn: SavedTurn): Turn {
  if (turn.kind !== "answer") return turn;
  const answer = new Answer();
  turn.choices.forEach((saved, index) => {
    const choice = answer.choice(index);
    choice.content.push(saved.content);
    choice.reasoning.push(saved.reasoning);
    choice.calls.push(...saved.calls);
    choice.finishReason = saved.finishReason;
  });
  answer.status = "done";
  return { kind: "answer", variants: [answer], shown: 0 };
}
