import { type ComponentChildren, createContext } from "preact";
import { useContext, useLayoutEffect, useRef, useState } from "preact/hooks";

/** The parts of a long list that are near the visible area have their content; the others are empty boxes of its height. */

const MARGIN = "1200px 0px";

export class Watcher {
  private readonly changes = new Map<Element, (isNear: boolean) => void>();
  private observer: IntersectionObserver | null = null;

  attach(root: Element | null): void {
    this.observer?.disconnect();
    this.observer = new IntersectionObserver((entries) => this.note(entries), { root, rootMargin: MARGIN });
    for (const element of this.changes.keys()) this.observer.observe(element);
  }

  watch(element: Element, change: (isNear: boolean) => void): () => void {
    this.changes.set(element, change);
    this.observer?.observe(element);
    return () => {
      this.changes.delete(element);
      this.observer?.unobserve(element);
    };
  }

  private note(entries: IntersectionObserverEntry[]): void {
    for (const entry of entries) this.changes.get(entry.target)?.(entry.isIntersecting);
  }
}

export const Watched = createContext(new Watcher());

export function Windowed({ children }: { children: () => ComponentChildren }) {
  const box = useRef<HTMLDivElement>(null);
  const [height, setHeight] = useState<number | null>(null);
  const watcher = useContext(Watched);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    return watcher.watch(element, (isNear) => setHeight(isNear ? null : element.offsetHeight));
  }, [watcher]);
  return (
    <div ref={box} class="windowed" style={height === null ? {} : { height: `${height}px` }}>
      {height === null && children()}
    </div>
  );
}
