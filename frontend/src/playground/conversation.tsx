import { MessageSquareText } from "lucide-preact";
import { useContext, useLayoutEffect, useRef } from "preact/hooks";
import { Watched, Watcher } from "../ui/windowed.tsx";
import { AnswerView } from "./answer-view.tsx";
import type { Pane, Turn } from "./pane.ts";

const NEAR_END = 80;

/** The turns of a pane. It stays at its end while an answer arrives, unless the reader has scrolled away from it. */
export function Conversation({ pane, label }: { pane: Pane; label: string }) {
  const watcher = useRef(new Watcher());
  return (
    <Watched.Provider value={watcher.current}>
      <List pane={pane} label={label} />
    </Watched.Provider>
  );
}

function List({ pane, label }: { pane: Pane; label: string }) {
  const list = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const watcher = useContext(Watched);
  const turns = pane.turns.value;
  pane.lastAnswer?.version.value; // read, so that the end is followed
  useLayoutEffect(() => watcher.attach(list.current), [watcher]);
  useLayoutEffect(() => {
    if (isAtEnd.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  });
  const note = () => {
    const element = list.current;
    if (element) isAtEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END;
  };
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it
    <section class="conversation" ref={list} onScroll={note} aria-label={label} tabIndex={0}>
      {turns.length === 0 && (
        <div class="state">
          <MessageSquareText aria-hidden="true" />
          <div>
            <p>Nothing was sent yet.</p>
            <p class="note">
              Enter sends, Shift+Enter starts a new line, Escape stops an answer, and / goes to the message.
            </p>
          </div>
        </div>
      )}
      {turns.map((turn, index) => (
        <TurnView key={index} pane={pane} turn={turn} isLast={index === turns.length - 1} />
      ))}
    </section>
  );
}

function TurnView({ pane, turn, isLast }: { pane: Pane; turn: Turn; isLast: boolean }) {
  switch (turn.kind) {
    case "answer":
      return <AnswerView pane={pane} turn={turn} isLast={isLast} />;
    case "user":
      return (
        <article class="turn user" aria-label="Message">
          {turn.text}
        </article>
      );
    case "tool":
      return (
        <article class="turn tool" aria-label="Tool results">
          {turn.results.map(({ id, name, content }) => (
            <p key={id}>
              <code>{name}</code> {content || "(empty)"}
            </p>
          ))}
        </article>
      );
  }
}
