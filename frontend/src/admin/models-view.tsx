import { Download } from "lucide-preact";
import { useEffect, useState } from "preact/hooks";
import { json, messageOf } from "../api/client.ts";
import { events } from "../api/events.ts";
import { areModelsLoading, capabilitiesOf, loadModels, models, modelsError } from "../api/models.ts";
import { BASE, type ErrorBody, type ModelEntry } from "../api/types.ts";
import { ActionDialog } from "../ui/action-dialog.tsx";
import { bytes } from "../ui/numbers.ts";
import { Scrolling } from "../ui/scrolling.tsx";
import { Empty, Failure, Loading } from "../ui/states.tsx";

const REFRESH_MS = 3000;

/** The served models: pulled, loaded, unloaded and removed. */
export function ModelsView() {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState<string | null>(null);
  const [removed, setRemoved] = useState<ModelEntry | null>(null);
  useEffect(() => {
    loadModels();
    const timer = setInterval(() => document.visibilityState === "visible" && loadModels(), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  const act = async (model: ModelEntry, action: "load" | "unload") => {
    setBusy(model.id);
    setError("");
    try {
      await json(`${pathOf(model)}/${action}`, { method: "POST" });
    } catch (reason) {
      setError(messageOf(reason));
    }
    setBusy(null);
    await loadModels();
  };
  return (
    <section class="stack" aria-label="Models">
      <PullForm />
      {(error || modelsError.value) && <Failure message={error || modelsError.value} />}
      {areModelsLoading.value && <Loading what="the models" />}
      {!areModelsLoading.value && !modelsError.value && models.value.length === 0 && (
        <Empty>This server has no models yet. Pull one above.</Empty>
      )}
      {models.value.length > 0 && (
        <Scrolling label="Table of models">
          <table>
            <thead>
              <tr>
                <th scope="col">Model</th>
                <th scope="col">State</th>
                <th scope="col">Capabilities</th>
                <th scope="col">Actions</th>
              </tr>
            </thead>
            <tbody>
              {models.value.map((model) => (
                <Row key={model.id} model={model} isBusy={busy === model.id} act={act} remove={setRemoved} />
              ))}
            </tbody>
          </table>
        </Scrolling>
      )}
      {removed && <RemoveDialog model={removed} close={() => setRemoved(null)} />}
    </section>
  );
}

function pathOf(model: ModelEntry): string {
  return `${BASE.openai}/models/${model.id.split("/").map(encodeURIComponent).join("/")}`;
}

interface RowProps {
  model: ModelEntry;
  isBusy: boolean;
  act: (model: ModelEntry, action: "load" | "unload") => void;
  remove: (model: ModelEntry) => void;
}

function Row({ model, isBusy, act, remove }: RowProps) {
  const isAwake = model.state === "awake";
  return (
    <tr>
      <th scope="row">{model.id}</th>
      <td>
        <span class={`dot ${model.state}`} aria-hidden="true" />
        {isBusy && !isAwake ? "loading" : model.state}
        {model.error && <p class="error-text">{model.error}</p>}
      </td>
      <td>
        {model.embedding_dimensions ? `${model.embedding_dimensions} dimensions` : capabilitiesOf(model).join(" · ")}
      </td>
      <td>
        <div class="row-actions">
          <button type="button" disabled={isBusy} onClick={() => act(model, isAwake ? "unload" : "load")}>
            {isAwake ? "Unload" : "Load"}
            <span class="hidden"> {model.id}</span>
          </button>
          <button type="button" class="danger" disabled={isBusy} onClick={() => remove(model)}>
            Remove<span class="hidden"> {model.id}</span>
          </button>
        </div>
      </td>
    </tr>
  );
}

function RemoveDialog({ model, close }: { model: ModelEntry; close: () => void }) {
  const remove = async () => {
    await json(pathOf(model), { method: "DELETE" });
    await loadModels();
    close();
  };
  return (
    <ActionDialog title={`Remove ${model.id}`} action="Remove" isDanger act={remove} close={close}>
      <p>The model is unloaded, and its files are deleted from the store. To serve it again it must be pulled.</p>
    </ActionDialog>
  );
}

interface PullEvent {
  status?: "pulling" | "done";
  model: string;
  step: string;
  completed: number;
  total: number | null;
  error?: ErrorBody;
}

function PullForm() {
  const [event, setEvent] = useState<PullEvent | null>(null);
  const [error, setError] = useState("");
  const [isPulling, setPulling] = useState(false);
  const pull = async (submitted: SubmitEvent) => {
    submitted.preventDefault();
    const form = new FormData(submitted.currentTarget as HTMLFormElement);
    setPulling(true);
    setError("");
    setEvent(null);
    try {
      const body = { model: String(form.get("reference")).trim() };
      for await (const one of events<PullEvent>(`${BASE.openai}/models/pull`, { body })) {
        if (one.error) throw new Error(one.error.message);
        setEvent(one);
      }
      await loadModels();
    } catch (reason) {
      setError(messageOf(reason));
      setEvent(null);
    }
    setPulling(false);
  };
  return (
    <form class="stack" onSubmit={pull}>
      <div class="controls">
        <label class="field reference">
          <span>Pull a model</span>
          <input name="reference" required placeholder="smollm2-135m-instruct, or hf:ORG/REPO" autocomplete="off" />
        </label>
        <button type="submit" class="primary" disabled={isPulling}>
          <Download aria-hidden="true" />
          Pull
        </button>
      </div>
      {error && <Failure message={error} />}
      {event && <PullProgress event={event} />}
    </form>
  );
}

function PullProgress({ event }: { event: PullEvent }) {
  if (event.status === "done") return <p role="status">{event.model} is served.</p>;
  const done = event.total ? `${bytes(event.completed)} of ${bytes(event.total)}` : bytes(event.completed);
  return (
    <div class="pulling" role="status">
      <p>
        {event.step || "Starting"}: {done}
      </p>
      <progress
        max={event.total ?? undefined}
        value={event.total ? event.completed : undefined}
        aria-label="Progress of the pull"
      />
    </div>
  );
}
