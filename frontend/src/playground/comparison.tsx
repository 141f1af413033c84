import { Equal, EqualNot } from "lucide-preact";
import type { Pane } from "./pane.ts";

/** Whether the last answers of two panes have the same text, once both have ended. */
export function Verdict({ panes }: { panes: Pane[] }) {
  const answers = panes.map((pane) => pane.lastAnswer);
  for (const answer of answers) answer?.version.value;
  const [one, other] = answers;
  if (!one || !other || one.isRunning || other.isRunning) return null;
  const [text, second] = [one, other].map((answer) => answer.choices[0]?.content.text ?? "") as [string, string];
  if (text === second)
    return (
      <p class="verdict same" role="status">
        <Equal aria-hidden="true" /> Both texts are equal: {text.length} characters.
      </p>
    );
  return (
    <p class="verdict" role="status">
      <EqualNot aria-hidden="true" /> The texts differ from character {firstDifference(text, second) + 1} on.
    </p>
  );
}

function firstDifference(one: string, other: string): number {
  const length = Math.min(one.length, other.length);
  for (let index = 0; index < length; index += 1) if (one[index] !== other[index]) return index;
  return length;
}
