import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { messageOf } from "../api/client.ts";
import { Dialog } from "./dialog.tsx";

interface Props {
  title: string;
  action: string;
  /** Whether it takes something away. */
  isDanger?: boolean;
  /** Does it, with what the controls of the dialog hold. */
  act: (form: FormData) => Promise<void>;
  close: () => void;
  children: ComponentChildren;
}

/** A dialog with one action. If it fails, the dialog stays and shows the server's message. */
export function ActionDialog({ title, action, isDanger = false, act, close, children }: Props) {
  const [error, setError] = useState("");
  const [isActing, setActing] = useState(false);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    setActing(true);
    try {
      await act(new FormData(event.currentTarget as HTMLFormElement));
    } catch (reason) {
      setError(messageOf(reason));
      setActing(false);
    }
  };
  return (
    <Dialog title={title} close={close}>
      <form class="stack" onSubmit={send}>
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
          <button type="submit" class={isDanger ? "danger" : "primary"} disabled={isActing}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
