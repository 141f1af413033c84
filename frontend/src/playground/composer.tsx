import { RotateCcw, Send, Square, Trash2 } from "lucide-preact";
import { useEffect, useRef } from "preact/hooks";
import { inFrame } from "../ui/frames.ts";
import type { Playground } from "./playground.ts";

/** The message of the user. It keeps its own text, so that typing does not wait for an answer that is rendered. */
export function Composer({ playground }: { playground: Playground }) {
  const input = useRef<HTMLTextAreaElement>(null);
  const isRunning = playground.isRunning.value;
  const isChat = playground.panes.value[0]?.settings.value.mode !== "completion";
  const hasAnswer = playground.panes.value.some((pane) => pane.lastAnswer !== null);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) playground.stop();
      const isTyping = (event.target as Element).matches("input, textarea, select");
      if (event.key === "/" && !isTyping) {
        event.preventDefault();
        input.current?.focus();
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [playground]);

  const send = () => {
    const element = input.current;
    if (!element || (isChat && !element.value.trim())) return;
    playground.send(element.value);
    element.value = "";
    inFrame(() => grow(element));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={input}
        rows={1}
        aria-label={isChat ? "Message" : "Prompt"}
        placeholder={isChat ? "Message" : "Text to continue"}
        onInput={({ currentTarget }) => inFrame(() => grow(currentTarget))}
        onKeyDown={onKeyDown}
      />
      <div class="composer-actions">
        <button
          type="button"
          class="icon"
          aria-label="Clear the conversation"
          title="Clear the conversation"
          onClick={() => playground.clear()}
        >
          <Trash2 aria-hidden="true" />
        </button>
        <button
          type="button"
          class="icon"
          aria-label="Answer again"
          title="Answer again"
          disabled={!hasAnswer || isRunning}
          onClick={() => playground.again()}
        >
          <RotateCcw aria-hidden="true" />
        </button>
        {/* Keys: a click that begins on the one, and ends after the answer, is none on the other. */}
        {isRunning ? (
          <button key="stop" type="button" class="primary" onClick={() => playground.stop()}>
            <Square aria-hidden="true" />
            Stop
          </button>
        ) : (
          <button key="send" type="submit" class="primary" disabled={!playground.isReady.value}>
            <Send aria-hidden="true" />
            Send
          </button>
        )}
      </div>
    </form>
  );
}

function grow(element: HTMLTextAreaElement): void {
  element.style.height = "auto";
  element.style.height = `${Math.min(element.scrollHeight, 240)}px`;
}
