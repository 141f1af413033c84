import { request } from "../api/client.ts";

/** A sample of the metrics page: values by name and labels. */
export interface Sample {
  /** Seconds of a monotonic clock. */
  time: number;
  values: Map<string, Map<string, number>>;
}

/** What is known of one model between two samples. */
export interface ModelStatus {
  model: string;
  running: number;
  waiting: number;
  blocks: number;
  usedBlocks: number;
  cachedBlocks: number;
  cacheBytes: number;
  generatedPerS: number | null;
  promptPerS: number | null;
  stepMs: number | null;
  hitRatio: number | null;
  acceptance: number | null;
}

const PREFIX = "crossette_";
const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([^ ]+)$/;

export async function readMetrics(): Promise<Sample> {
  const text = await (await request("metrics")).text();
  return { time: performance.now() / 1000, values: parse(text) };
}

/** The values of a page in Prometheus' text format, by name without prefix, then by model ("" for none). */
export function parse(text: string): Sample["values"] {
  const values: Sample["values"] = new Map();
  for (const line of text.split("\n")) {
    const found = LINE.exec(line);
    if (!found) continue;
    const [, name = "", labels = "", value] = found;
    if (name.endsWith("_bucket")) continue;
    const short = name.replace(PREFIX, "");
    const model = /(?:^|,)model="((?:[^"\\]|\\.)*)"/.exec(labels)?.[1] ?? "";
    const byModel = values.get(short) ?? new Map<string, number>();
    byModel.set(model, (byModel.get(model) ?? 0) + Number(value));
    values.set(short, byModel);
  }
  return values;
}

export function modelsOf(sample: Sample): string[] {
  return [...(sample.values.get("kv_blocks")?.keys() ?? [])].sort();
}

export function statusOf(model: string, now: Sample, before: Sample | null): ModelStatus {
  const at = (name: string) => now.values.get(name)?.get(model) ?? 0;
  const change = (name: string) => at(name) - (before?.values.get(name)?.get(model) ?? 0);
  const seconds = before ? now.time - before.time : 0;
  const rate = (name: string) => (seconds > 0 ? change(name) / seconds : null);
  const steps = change("step_duration_seconds_count");
  return {
    model,
    running: at("sequences_running"),
    waiting: at("sequences_waiting"),
    blocks: at("kv_blocks"),
    usedBlocks: at("kv_blocks_used"),
    cachedBlocks: at("kv_blocks_cached"),
    cacheBytes: at("kv_cache_bytes"),
    generatedPerS: rate("generated_tokens_total"),
    promptPerS: rate("computed_prompt_tokens_total"),
    stepMs: before && steps > 0 ? (change("step_duration_seconds_sum") / steps) * 1000 : null,
    hitRatio: ratio(at("prefix_cache_hit_tokens_total"), at("prefix_cache_lookup_tokens_total")),
    acceptance: ratio(at("speculation_accepted_tokens_total"), at("speculation_draft_tokens_total")),
  };
}

export function processBytes(sample: Sample): number | null {
  return sample.values.get("process_resident_memory_bytes")?.get("") ?? null;
}

function ratio(part: number, whole: number): number | null {
  return whole > 0 ? part / whole : null;
}
