import { Check, Copy } from "lucide-preact";
import { useState } from "preact/hooks";
import { messageOf } from "../api/client.ts";
import { Dialog } from "../ui/dialog.tsx";
import { CLIENTS, type Client, program } from "./copy.ts";
import type { Pane } from "./pane.ts";

/** The last request of a conversation as a program. */
export function CopyDialog({ pane, close }: { pane: Pane; close: () => void }) {
  const [client, setClient] = useState<Client>("curl");
  const [isCopied, setCopied] = useState(false);
  const { dialect, mode } = pane.settings.value;
  const clients = (Object.keys(CLIENTS) as Client[]).filter(
    (one) => dialect === "fireworks" || one !== "fireworks-python",
  );
  const text = textOf(pane, client);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
  };
  return (
    <Dialog title="Copy as" close={close}>
      <fieldset class="segments">
        <legend class="hidden">Client</legend>
        {clients.map((one) => (
          <button
            key={one}
            type="button"
            aria-pressed={one === client}
            onClick={() => {
              setClient(one);
              setCopied(false);
            }}
          >
            {CLIENTS[one]}
          </button>
        ))}
      </fieldset>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it */}
      <pre class="program" tabIndex={0}>
        {text}
      </pre>
      <p class="note">
        {mode === "chat" ? "Chat completions" : "Completions"} in {dialect === "openai" ? "OpenAI’s" : "Fireworks’"}{" "}
        dialect. The key is read from the variable CROSSETTE_API_KEY.
      </p>
      <div class="actions">
        <button type="button" class="primary" onClick={copy}>
          {isCopied ? <Check aria-hidden="true" /> : <Copy aria-hidden="true" />}
          {isCopied ? "Copied" : "Copy"}
        </button>
      </div>
    </Dialog>
  );
}

function textOf(pane: Pane, client: Client): string {
  const turns = pane.turns.value;
  const end = turns.findLastIndex((turn) => turn.kind !== "answer") + 1;
  const { dialect, mode } = pane.settings.value;
  try {
    const asked = end ? turns.slice(0, end) : [{ kind: "user" as const, text: "Hello" }];
    return program(client, dialect, mode, pane.body(asked));
  } catch (error) {
    return messageOf(error);
  }
}
