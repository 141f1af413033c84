import { Columns2, Copy, Download, FolderOpen, Link, SlidersHorizontal } from "lucide-preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { messageOf } from "../api/client.ts";
import { models } from "../api/models.ts";
import { download } from "../ui/download.ts";
import { keyChanges } from "../ui/key-dialog.tsx";
import { Empty, Failure } from "../ui/states.tsx";
import { Verdict } from "./comparison.tsx";
import { Composer } from "./composer.tsx";
import { Conversation } from "./conversation.tsx";
import { CopyDialog } from "./copy-dialog.tsx";
import type { Pane } from "./pane.ts";
import { Playground } from "./playground.ts";
import { linkOf } from "./settings.ts";
import { SettingsPanel } from "./settings-panel.tsx";

export default function PlaygroundPage() {
  const playground = useMemo(() => new Playground(), []);
  const changes = keyChanges.value;
  useEffect(() => {
    playground.load();
  }, [playground, changes]);
  const [isSettingsOpen, setSettingsOpen] = useState(false);
  const panes = playground.panes.value;
  return (
    <div class={panes.length > 1 ? "workspace comparing" : "workspace"}>
      <h1 class="hidden">Playground</h1>
      <Toolbar
        playground={playground}
        toggleSettings={() => setSettingsOpen(!isSettingsOpen)}
        isOpen={isSettingsOpen}
      />
      <aside class={isSettingsOpen ? "side open" : "side"} aria-label="Settings">
        {panes.map((pane, index) => (
          <PaneSettings key={index} playground={playground} pane={pane} name={nameOf(panes, index)} />
        ))}
      </aside>
      <div class="stage">
        {playground.error.value && <Failure message={playground.error.value} retry={() => playground.load()} />}
        {playground.fields.value && models.value.length === 0 && <NoModels />}
        <div class="panes">
          {panes.map((pane, index) => (
            <div class="pane" key={index}>
              {panes.length > 1 && <h2>{nameOf(panes, index)}</h2>}
              <Conversation
                pane={pane}
                label={panes.length > 1 ? `Conversation ${nameOf(panes, index)}` : "Conversation"}
              />
            </div>
          ))}
        </div>
        {panes.length > 1 && <Verdict panes={panes} />}
        <Composer playground={playground} />
      </div>
    </div>
  );
}

function nameOf(panes: Pane[], index: number): string {
  return panes.length > 1 ? "AB".charAt(index) : "";
}

function PaneSettings({ playground, pane, name }: { playground: Playground; pane: Pane; name: string }) {
  const fields = playground.fields.value?.[pane.settings.value.mode] ?? [];
  return (
    <section class="pane-settings" aria-label={name ? `Settings of ${name}` : "Settings of the conversation"}>
      <h2>{name ? `Settings of ${name}` : "Settings"}</h2>
      <SettingsPanel pane={pane} fields={fields} />
    </section>
  );
}

function NoModels() {
  return (
    <Empty>
      <p>This server has no models yet.</p>
      <p class="note">
        An administrator can pull one on the page <a href="./admin">Admin</a>.
      </p>
    </Empty>
  );
}

interface ToolbarProps {
  playground: Playground;
  toggleSettings: () => void;
  isOpen: boolean;
}

function Toolbar({ playground, toggleSettings, isOpen }: ToolbarProps) {
  const [isCopying, setCopying] = useState(false);
  const [note, setNote] = useState("");
  const file = useRef<HTMLInputElement>(null);
  const first = playground.panes.value[0] as Pane;
  const copyLink = async () => {
    const fields = playground.fields.value;
    if (!fields) return;
    const link = linkOf(first.settings.value, fields);
    history.replaceState(null, "", link);
    try {
      await navigator.clipboard.writeText(link);
      setNote("The link is copied. It has the settings, and nothing of the conversation.");
    } catch {
      setNote("The link is in the address bar. It has the settings, and nothing of the conversation.");
    }
  };
  const open = async (event: Event) => {
    const input = event.currentTarget as HTMLInputElement;
    const [chosen] = input.files ?? [];
    if (!chosen) return;
    try {
      playground.open(await chosen.text());
      setNote(`${chosen.name} is open.`);
    } catch (error) {
      setNote(messageOf(error));
    }
    input.value = "";
  };
  return (
    <div class="toolbar" role="toolbar" aria-label="Conversation">
      <button type="button" class="quiet narrow-only" aria-expanded={isOpen} onClick={toggleSettings}>
        <SlidersHorizontal aria-hidden="true" />
        Settings
      </button>
      <button
        type="button"
        class="quiet"
        aria-pressed={playground.isComparing.value}
        onClick={() => playground.toggleComparison()}
      >
        <Columns2 aria-hidden="true" />
        <span>Compare</span>
      </button>
      <button type="button" class="quiet" onClick={() => setCopying(true)}>
        <Copy aria-hidden="true" />
        <span class="wide">Copy as</span>
      </button>
      <button type="button" class="quiet" aria-label="Copy a link" title="Copy a link" onClick={copyLink}>
        <Link aria-hidden="true" />
      </button>
      <button
        type="button"
        class="quiet"
        aria-label="Save"
        title="Save the conversation"
        onClick={() => download("conversation.json", playground.saved(), "application/json")}
      >
        <Download aria-hidden="true" />
      </button>
      <button
        type="button"
        class="quiet"
        aria-label="Open"
        title="Open a conversation"
        onClick={() => file.current?.click()}
      >
        <FolderOpen aria-hidden="true" />
      </button>
      <input
        ref={file}
        type="file"
        accept="application/json,.json"
        hidden
        aria-label="Conversation file"
        onChange={open}
      />
      <p class="note" role="status">
        {note}
      </p>
      {isCopying && <CopyDialog pane={first} close={() => setCopying(false)} />}
    </div>
  );
}
