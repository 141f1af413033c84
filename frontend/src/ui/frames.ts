import { options } from "preact";

/** Changes of the document that wait for the next animation frame: all of them together are one update of it. */

const waiting = new Set<() => void>();

export function inFrame(change: () => void): void {
  if (waiting.size === 0) requestAnimationFrame(run);
  waiting.add(change);
}

function run(): void {
  const changes = [...waiting];
  waiting.clear();
  for (const change of changes) change();
}

/** What Preact renders again waits too, whatever the reason. */
export function renderInFrames(): void {
  options.debounceRendering = inFrame;
}
