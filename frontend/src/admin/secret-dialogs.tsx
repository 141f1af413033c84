import { Check, Copy } from "lucide-preact";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { messageOf } from "../api/client.ts";
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
  const [overlap, setOverlap] = useState("24h");
  return (
    <Confirmation
      title={`Rotate ${key.name}`}
      action="Rotate"
      act={async () => done(await rotateKey(key, overlap))}
      close={close}
    >
      <p>The key gets another secret. Its id, its limits and its usage stay.</p>
      <label class="field">
        <span>The old secret stays valid</span>
        <select value={overlap} onChange={(event) => setOverlap(event.currentTarget.value)}>
          {Object.entries(OVERLAPS).map(([value, title]) => (
            <option key={value} value={value}>
              {title}
            </option>
          ))}
        </select>
      </label>
    </Confirmation>
  );
}

export function RevokeDialog({ of: key, done, close }: Props<Key>) {
  return (
    <Confirmation
      title={`Revoke ${key.name}`}
      action="Revoke"
      act={async () => done(await revokeKey(key))}
      close={close}
    >
      <p>Servers reject the key within two seconds, for good. Answers that are running go on to their end.</p>
    </Confirmation>
  );
}

interface ConfirmationProps {
  title: string;
  action: string;
  act: () => Promise<void>;
  close: () => void;
  children: ComponentChildren;
}

export function Confirmation({ title, action, act, close, children }: ConfirmationProps) {
  const [error, setError] = useState("");
  const [isActing, setActing] = useState(false);
  const confirm = async () => {
    setActing(true);
    try {
      await act();
    } catch (reason) {
      setError(messageOf(reason));
      setActing(false);
    }
  };
  return (
    <Dialog title={title} close={close}>
      {children}
      {error && (
        <p class="error-text" role="alert">
          {error}
        </p>
      )}
      <div class="actions">
        <button type="button" onClick={close}>
          Cancel
        </button>
        <button type="button" class="danger" disabled={isActing} onClick={confirm}>
          {action}
        </button>
      </div>
    </Dialog>
  );
}
