import { Plus } from "lucide-preact";
import { useEffect, useState } from "preact/hooks";
import { messageOf } from "../api/client.ts";
import { day, number } from "../ui/numbers.ts";
import { Scrolling } from "../ui/scrolling.tsx";
import { Failure, Loading } from "../ui/states.tsx";
import { KeyForm } from "./key-form.tsx";
import { type Key, LIMITS, type LimitName, listKeys } from "./keys.ts";
import { RevokeDialog, RotateDialog, SecretDialog } from "./secret-dialogs.tsx";

type Open =
  | { kind: "create" }
  | { kind: "edit" | "rotate" | "revoke"; key: Key }
  | { kind: "secret"; name: string; secret: string };

/** All keys, and what can be done with them. */
export function KeysView() {
  const [keys, setKeys] = useState<Key[] | null>(null);
  const [error, setError] = useState("");
  const [open, setOpen] = useState<Open | null>(null);
  const load = () => {
    listKeys().then(
      (found) => {
        setKeys(found);
        setError("");
      },
      (reason) => setError(messageOf(reason)),
    );
  };
  useEffect(load, []);
  const close = () => setOpen(null);
  const done = (secret?: { name: string; key: string }) => {
    setOpen(secret ? { kind: "secret", name: secret.name, secret: secret.key } : null);
    load();
  };
  if (error && !keys) return <Failure message={error} retry={load} />;
  if (!keys) return <Loading what="the keys" />;
  if (!keys.length) return <FirstKey />;
  return (
    <section class="stack" aria-label="Keys">
      {error && <Failure message={error} retry={load} />}
      <div class="actions">
        <button type="button" class="primary" onClick={() => setOpen({ kind: "create" })}>
          <Plus aria-hidden="true" />
          Create a key
        </button>
      </div>
      <Scrolling label="Table of keys">
        <table>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">State</th>
              <th scope="col">Models</th>
              <th scope="col">Limits</th>
              <th scope="col">Used</th>
              <th scope="col">Expires</th>
              <th scope="col">Actions</th>
            </tr>
          </thead>
          <tbody>
            {keys.map((key) => (
              <Row key={key.id} of={key} open={setOpen} />
            ))}
          </tbody>
        </table>
      </Scrolling>
      <p class="note">A change reaches every server of this database within two seconds.</p>
      {open?.kind === "create" && <KeyForm done={done} close={close} />}
      {open?.kind === "edit" && <KeyForm of={open.key} done={() => done()} close={close} />}
      {open?.kind === "rotate" && <RotateDialog of={open.key} done={done} close={close} />}
      {open?.kind === "revoke" && <RevokeDialog of={open.key} done={() => done()} close={close} />}
      {open?.kind === "secret" && <SecretDialog name={open.name} secret={open.secret} close={close} />}
    </section>
  );
}

/** Without keys everybody is an admin, so the first one cannot be made here. */
function FirstKey() {
  return (
    <section class="stack first-key" aria-label="Keys">
      <h2>This server has no keys yet</h2>
      <p>
        It accepts every request from this machine. Make the first key, for an administrator, on the machine of the
        server:
      </p>
      <pre>crossette keys create NAME --admin</pre>
      <p>In a clone the command is .venv/bin/crossette. From then on every request needs a key: enter this one here.</p>
      <p class="note">It is not made over HTTP: anybody could close an open server, and keep its only key.</p>
    </section>
  );
}

function Row({ of: key, open }: { of: Key; open: (what: Open) => void }) {
  const isLive = key.state === "active";
  return (
    <tr class={isLive ? "" : "ended"}>
      <th scope="row">
        {key.name}
        <br />
        <code>{key.id}</code>
      </th>
      <td>
        <span class={`tag ${key.state}`}>{key.state}</span> {key.is_admin && <span class="tag">admin</span>}
      </td>
      <td>{key.models ? key.models.join(", ") : "all"}</td>
      <td>
        <Limits of={key} />
      </td>
      <td>
        <Used of={key} />
      </td>
      <td>{day(key.expires_at)}</td>
      <td>
        <div class="row-actions">
          <button type="button" disabled={key.state === "revoked"} onClick={() => open({ kind: "edit", key })}>
            Edit<span class="hidden"> {key.name}</span>
          </button>
          <button type="button" disabled={!isLive} onClick={() => open({ kind: "rotate", key })}>
            Rotate<span class="hidden"> {key.name}</span>
          </button>
          <button
            type="button"
            class="danger"
            disabled={key.state === "revoked"}
            onClick={() => open({ kind: "revoke", key })}
          >
            Revoke<span class="hidden"> {key.name}</span>
          </button>
        </div>
      </td>
    </tr>
  );
}

function Limits({ of: key }: { of: Key }) {
  const given = Object.entries(key.limits).filter(([, bound]) => bound !== null);
  if (!given.length) return <>none</>;
  return (
    <ul class="plain">
      {given.map(([name, bound]) => (
        <li key={name}>
          {LIMITS[name as LimitName]}: {number(bound as number)}
        </li>
      ))}
    </ul>
  );
}

function Used({ of: key }: { of: Key }) {
  const budget = key.limits.total_tokens;
  if (budget === null) return <>{number(key.used_tokens)} tokens</>;
  return (
    <>
      <meter
        min={0}
        max={budget}
        high={budget * 0.9}
        value={key.used_tokens}
        aria-label={`Tokens used by ${key.name}`}
      />{" "}
      {number(key.used_tokens)} of {number(budget)}
    </>
  );
}
