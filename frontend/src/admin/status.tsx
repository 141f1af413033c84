import { useEffect, useState } from "preact/hooks";
import { messageOf } from "../api/client.ts";
import { bytes, number, percent } from "../ui/numbers.ts";
import { Empty, Failure, Loading } from "../ui/states.tsx";
import { type ModelStatus, modelsOf, processBytes, readMetrics, type Sample, statusOf } from "./metrics.ts";
import { Plot } from "./plot.tsx";

const INTERVAL_MS = 2000;
const KEPT = 150;

interface Point {
  time: number;
  generated: number | null;
  stepMs: number | null;
}

interface State {
  sample: Sample;
  before: Sample | null;
  points: Point[];
}

/** What the engines do now. It reads GET /metrics every two seconds while it is visible. */
export function Status() {
  const [state, setState] = useState<State | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    let isOpen = true;
    const read = async () => {
      if (document.visibilityState === "hidden") return;
      try {
        const sample = await readMetrics();
        if (!isOpen) return;
        setState((last) => next(last, sample));
        setError("");
      } catch (reason) {
        if (isOpen) setError(messageOf(reason));
      }
    };
    read();
    const timer = setInterval(read, INTERVAL_MS);
    return () => {
      isOpen = false;
      clearInterval(timer);
    };
  }, []);
  if (error && !state) return <Failure message={error} />;
  if (!state) return <Loading what="the status" />;
  const models = modelsOf(state.sample);
  const memory = processBytes(state.sample);
  const times = state.points.map((point) => point.time);
  return (
    <section class="stack" aria-label="Status">
      {error && <Failure message={error} />}
      <p class="note">
        Every {INTERVAL_MS / 1000} seconds, from GET /metrics.
        {memory !== null && ` The process has ${bytes(memory)} in memory.`}
      </p>
      {models.length === 0 && <Empty>No model is in memory. The first request for one loads it.</Empty>}
      <div class="cards">
        {models.map((model) => (
          <Card key={model} status={statusOf(model, state.sample, state.before)} />
        ))}
      </div>
      <div class="plots">
        <Plot
          label="Generated tokens per second, all models"
          times={times}
          series={[{ label: "tokens/s", values: state.points.map((point) => point.generated) }]}
        />
        <Plot
          label="Mean duration of a step in milliseconds, all models"
          times={times}
          series={[{ label: "ms", values: state.points.map((point) => point.stepMs) }]}
        />
      </div>
    </section>
  );
}

function next(last: State | null, sample: Sample): State {
  const before = last?.sample ?? null;
  const all = modelsOf(sample).map((model) => statusOf(model, sample, before));
  const steps = all.flatMap(({ stepMs }) => stepMs ?? []);
  const point: Point = {
    time: Date.now() / 1000,
    generated: before ? all.reduce((sum, { generatedPerS }) => sum + (generatedPerS ?? 0), 0) : null,
    stepMs: steps.length ? steps.reduce((sum, ms) => sum + ms, 0) / steps.length : null,
  };
  return { sample, before, points: [...(last?.points ?? []), point].slice(-KEPT) };
}

function Card({ status }: { status: ModelStatus }) {
  const share = status.blocks ? status.usedBlocks / status.blocks : 0;
  return (
    <article class="card">
      <h2>{status.model}</h2>
      <dl>
        <Fact name="Streams" value={number(status.running)} />
        <Fact name="Queue" value={number(status.waiting)} />
        <Fact name="Generated" value={perSecond(status.generatedPerS)} />
        <Fact name="Prompt" value={perSecond(status.promptPerS)} />
        <Fact name="Step" value={status.stepMs === null ? "idle" : `${status.stepMs.toFixed(1)} ms`} />
        <Fact name="Prefix cache hits" value={status.hitRatio === null ? "none yet" : percent(status.hitRatio)} />
        <Fact name="Cached blocks" value={number(status.cachedBlocks)} />
        {status.acceptance !== null && <Fact name="Accepted drafts" value={percent(status.acceptance)} />}
        {status.cacheBytes > 0 && <Fact name="KV cache" value={bytes(status.cacheBytes)} />}
      </dl>
      <p class="note">
        <meter min={0} max={1} value={share} aria-label={`KV cache in use by ${status.model}`} />{" "}
        {number(status.usedBlocks)} of {number(status.blocks)} blocks in use
      </p>
    </article>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function perSecond(rate: number | null): string {
  return rate === null ? "…" : `${rate.toFixed(1)} tokens/s`;
}
