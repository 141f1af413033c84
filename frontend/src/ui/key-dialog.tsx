import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { key, setKey } from "../api/client.ts";
import { Dialog } from "./dialog.tsx";

export const isKeyDialogOpen = signal(false);
export const keyChanges = signal(0);

/** Asks for the API key. What a page has loaded depends on it: `keyChanges` counts its changes. */
export function KeyDialog() {
  const [text, setText] = useState(key.value);
  if (!isKeyDialogOpen.value) return null;
  const close = () => {
    isKeyDialogOpen.value = false;
  };
  const save = (event: Event) => {
    event.preventDefault();
    setKey(text);
    close();
    keyChanges.value += 1;
  };
  return (
    <Dialog title="API key" close={close}>
      <form onSubmit={save} class="stack">
        <label class="field">
          <span>Key</span>
          <input
            type="password"
            name="key"
            autocomplete="off"
            spellcheck={false}
            value={text}
            placeholder="sk-crossette-…"
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <p class="note">It stays in this tab: it is not stored, and it is gone once the tab is closed.</p>
        <div class="actions">
          <button type="submit" class="primary">
            Use this key
          </button>
        </div>
      </form>
    </Dialog>
  );
}
