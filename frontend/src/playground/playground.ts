import { computed, signal } from "@preact/signals";
import { messageOf } from "../api/client.ts";
import { type Fields, loadFields } from "../api/fields.ts";
import { generates, loadModels, models } from "../api/models.ts";
import { opened, savedText } from "./files.ts";
import { Pane } from "./pane.ts";
import { DEFAULTS, fromLink, type Settings } from "./settings.ts";

/** The state of the page: one conversation, or two that are compared. */
export class Playground {
  readonly fields = signal<Fields | null>(null);
  readonly error = signal("");
  readonly panes = signal<Pane[]>([]);
  readonly isComparing = computed(() => this.panes.value.length > 1);
  readonly isRunning = computed(() => this.panes.value.some((pane) => pane.isRunning.value));
  readonly isReady = computed(
    () => this.fields.value !== null && this.panes.value.every((pane) => pane.settings.value.model !== ""),
  );

  constructor() {
    this.panes.value = [this.pane({ ...DEFAULTS, ...fromLink(location.hash) })];
  }

  async load(): Promise<void> {
    try {
      const [fields] = await Promise.all([loadFields(), loadModels()]);
      this.fields.value = fields;
      this.error.value = "";
    } catch (error) {
      this.error.value = messageOf(error);
    }
    const first = models.value.find(generates);
    for (const pane of this.panes.value) if (!pane.settings.value.model && first) pane.update({ model: first.id });
  }

  send(text: string): void {
    for (const pane of this.panes.value) pane.send(text);
  }

  again(): void {
    for (const pane of this.panes.value) pane.again();
  }

  stop(): void {
    for (const pane of this.panes.value) pane.stop();
  }

  clear(): void {
    for (const pane of this.panes.value) pane.clear();
  }

  /** Show a second conversation that begins as a copy of the first, or close it. */
  toggleComparison(): void {
    const [first, second] = this.panes.value;
    if (!first) return;
    second?.stop();
    const { settings, turns } = first;
    this.panes.value = second ? [first] : [first, this.pane({ ...settings.value }, [...turns.value])];
  }

  saved(): string {
    const pane = this.panes.value[0] as Pane;
    return savedText(pane.settings.value, pane.turns.value);
  }

  /** Replace the conversations by that of a file. Throws Error for another file. */
  open(text: string): void {
    const { settings, turns } = opened(text);
    this.stop();
    this.panes.value = [this.pane(settings, turns)];
  }

  private pane(settings: Settings, turns: Pane["turns"]["value"] = []): Pane {
    return new Pane(settings, turns, this.fields);
  }
}
