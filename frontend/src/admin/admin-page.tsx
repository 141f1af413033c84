import { useState } from "preact/hooks";
import { keyChanges } from "../ui/key-dialog.tsx";
import { KeysView } from "./keys-view.tsx";
import { ModelsView } from "./models-view.tsx";
import { Status } from "./status.tsx";
import { UsageView } from "./usage-view.tsx";

const VIEWS = { keys: KeysView, usage: UsageView, status: Status, models: ModelsView };
type Name = keyof typeof VIEWS;

const TITLES: Record<Name, string> = { keys: "Keys", usage: "Usage", status: "Status", models: "Models" };

export default function AdminPage() {
  const [name, setName] = useState<Name>(named(location.hash));
  const View = VIEWS[name];
  const show = (other: Name) => {
    history.replaceState(null, "", `#${other}`);
    setName(other);
  };
  return (
    <div class="admin-page">
      <h1>Administration</h1>
      <nav class="segments" aria-label="Administration">
        {(Object.keys(VIEWS) as Name[]).map((other) => (
          <button key={other} type="button" aria-pressed={other === name} onClick={() => show(other)}>
            {TITLES[other]}
          </button>
        ))}
      </nav>
      <View key={`${name} ${keyChanges.value}`} />
    </div>
  );
}

function named(hash: string): Name {
  const name = hash.replace(/^#/, "");
  return name in VIEWS ? (name as Name) : "keys";
}
