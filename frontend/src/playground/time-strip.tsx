import { useLayoutEffect, useRef } from "preact/hooks";
import { theme } from "../ui/theme.ts";
import type { Token } from "./answer.ts";

const HEIGHT = 28;

/** The times between tokens as bars. Accepted drafts, which come with the token before, have another colour. */
export function TimeStrip({ tokens }: { tokens: Token[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const gaps = gapsOf(tokens);
  const shown = theme();
  // Before the paint: the size of the canvas is a change of the document, of the same frame.
  useLayoutEffect(() => {
    if (canvas.current) draw(canvas.current, gaps);
  }, [gaps.length, shown]);
  if (gaps.length < 2) return null;
  const sorted = gaps.map((gap) => gap.ms).sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const longest = sorted.at(-1) ?? 0;
  const times = `median ${median.toFixed(1)} ms, longest ${longest.toFixed(1)} ms`;
  return (
    <figure class="time-strip">
      <canvas ref={canvas} role="img" aria-label={`Time between tokens: ${times}`} />
      <figcaption>Between tokens: {times}</figcaption>
    </figure>
  );
}

interface Gap {
  ms: number;
  isDraft: boolean;
}

function gapsOf(tokens: Token[]): Gap[] {
  const gaps: Gap[] = [];
  for (let index = 1; index < tokens.length; index += 1) {
    const [before, token] = [tokens[index - 1] as Token, tokens[index] as Token];
    if (before.time === null || token.time === null) continue;
    gaps.push({ ms: (token.time - before.time) * 1000, isDraft: token.isAcceptedDraft });
  }
  return gaps;
}

function draw(canvas: HTMLCanvasElement, gaps: Gap[]): void {
  const width = canvas.clientWidth;
  const ratio = devicePixelRatio;
  canvas.width = width * ratio;
  canvas.height = HEIGHT * ratio;
  const context = canvas.getContext("2d");
  if (!context || !width) return;
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const longest = gaps.reduce((most, gap) => Math.max(most, gap.ms), 1e-3);
  const step = width / gaps.length;
  gaps.forEach((gap, index) => {
    context.fillStyle = style.getPropertyValue(gap.isDraft ? "--draft" : "--accent");
    const height = Math.max(1, (gap.ms / longest) * HEIGHT);
    context.fillRect(index * step, HEIGHT - height, Math.max(step - 0.5, 0.5), height);
  });
}
