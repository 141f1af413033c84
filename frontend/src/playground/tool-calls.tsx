import { Wrench } from "lucide-preact";
import { useState } from "preact/hooks";
import type { ToolCall } from "./answer.ts";
import type { Pane } from "./pane.ts";

interface Props {
  pane: Pane;
  calls: ToolCall[];
  /** Another one when the calls have changed. */
  version: number;
  /** Whether results can be given now. */
  isOpen: boolean;
}

/** The calls of an answer. What is typed as their results goes on with the conversation. */
export function ToolCalls({ pane, calls, isOpen }: Props) {
  const [results, setResults] = useState<string[]>(calls.map(() => ""));
  const send = (event: Event) => {
    event.preventDefault();
    pane.sendResults(calls.map(({ id, name }, index) => ({ id, name, content: results[index] ?? "" })));
  };
  return (
    <form class="tool-calls" onSubmit={send}>
      {calls.map((call, index) => (
        <div class="tool-call" key={call.id || index}>
          <p>
            <Wrench aria-hidden="true" /> <code>{call.name}</code>
          </p>
          <pre>{call.arguments}</pre>
          {isOpen && (
            <label class="field">
              <span>Result of {call.name}</span>
              <textarea
                rows={2}
                value={results[index] ?? ""}
                placeholder='{"temperature": 21}'
                onInput={(event) => {
                  const text = event.currentTarget.value;
                  setResults((before) => calls.map((_, other) => (other === index ? text : (before[other] ?? ""))));
                }}
              />
            </label>
          )}
        </div>
      ))}
      {isOpen && (
        <div class="actions">
          <button type="submit">Send {calls.length > 1 ? "the results" : "the result"}</button>
        </div>
      )}
    </form>
  );
}
