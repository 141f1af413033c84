import { Check, Copy } from "lucide-preact";
import { useState } from "preact/hooks";
import { ActionDialog } from "../ui/action-dialog.tsx";
import { Dialog } from "../ui/dialog.tsx";
import { type Key, revokeKey, rotateKey, type SecretKey } from "./keys.ts";

/** Shows a secret, which no other request returns. */
export function SecretDialog({ name, secret, close }: { name: string; secret: string; close: () => void }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(secret);
    setCopied(true);
  };
  return (
    <Dialog title={`The key of ${name}`} close={close}>
      <p>It is shown only this once: the server keeps a hash of it.</p>
      <output class="secret">{secret}</output>
      <div class="actions">
        <button type="button" onClick={copy}>
          {isCopied ? <Check aria-hidden="true" /> : <Copy aria-hidden="true" />}
          {isCopied ? "Copied" : "Copy"}
        </button>
        <button type="button" class="primary" onClick={close}>
          Done
        </button>
      </div>
    </Dialog>
  );
}

const OVERLAPS = { "0h": "not at all", "1h": "for an hour", "24h": "for a day", "7d": "for a week" };

interface Props<Result> {
  of: Key;
  done: (result: Result) => void;
  close: () => void;
}

export function RotateDialog({ of: key, done, close }: Props<SecretKey>) {
  return (
    <ActionDialog
      title={`Rotate ${key.name}`}
      action="Rotate"
      act={async (form) => done(await rotateKey(key, String(form.get("overlap"))))}
      close={close}
    >
      <p>The key gets another secret. Its id, its limits and its usage stay.</p>
      <label class="field">
        <span>The old secret stays valid</span>
        <select name="overlap">
          {Object.entries(OVERLAPS).map(([value, title]) => (
            <option key={value} value={value} selected={value === "24h"}>
              {title}
            </option>
          ))}
        </select>
      </label>
    </ActionDialog>
  );
}

export function RevokeDialog({ of: key, done, close }: Props<Key>) {
  return (
    <ActionDialog
      title={`Revoke ${key.name}`}
      action="Revoke"
      isDanger
      act={async () => done(await revokeKey(key))}
      close={close}
    >
      <p>Servers reject the key within two seconds, for good. Answers that are running go on to their end.</p>
    </ActionDialog>
  );
}
