import type { ComponentChildren } from "preact";

/** A wide table in a box that scrolls, which the keyboard can reach. */
export function Scrolling({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it
    <section class="scrolling" tabIndex={0} aria-label={label}>
      {children}
    </section>
  );
}
