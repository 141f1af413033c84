import { Markdown } from "../ui/markdown.tsx";
import { Windowed } from "../ui/windowed.tsx";
import type { Growing } from "./growing.ts";

/** A text of which only the last chunk changes, and only the visible chunks have elements. */
export function TextView({ text }: { text: Growing }) {
  return (
    <div class="text">
      {text.done.map((chunk, index) => (
        <Windowed key={index}>{() => <Markdown text={chunk} />}</Windowed>
      ))}
      {text.last && <Markdown text={text.last} />}
    </div>
  );
}
