import { CircleAlert, Inbox, KeyRound, LoaderCircle, WifiOff } from "lucide-preact";
import type { ComponentChildren } from "preact";
import { isOffline, needsKey } from "../api/client.ts";
import { isKeyDialogOpen } from "./key-dialog.tsx";

/** What a part of a page shows while it has no content of its own. */

export function Loading({ what }: { what: string }) {
  return (
    <p class="state" role="status">
      <LoaderCircle class="spin" aria-hidden="true" />
      Loading {what}…
    </p>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return (
    <div class="state">
      <Inbox aria-hidden="true" />
      <div>{children}</div>
    </div>
  );
}

export function Failure({ message, retry }: { message: string; retry?: () => void }) {
  return (
    <div class="notice error" role="alert">
      <CircleAlert aria-hidden="true" />
      <p>{message}</p>
      {retry && (
        <button type="button" class="quiet" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** Banners for what concerns every request: no connection, no valid key. */
export function Banners() {
  return (
    <div class="banners">
      {isOffline.value && (
        <div class="notice warning" role="alert">
          <WifiOff aria-hidden="true" />
          <p>The server cannot be reached. The page tries again with your next action.</p>
        </div>
      )}
      {needsKey.value && (
        <div class="notice warning" role="alert">
          <KeyRound aria-hidden="true" />
          <p>This server needs an API key. The key stays in this tab.</p>
          <button
            type="button"
            onClick={() => {
              isKeyDialogOpen.value = true;
            }}
          >
            Enter the key
          </button>
        </div>
      )}
    </div>
  );
}
