import type { Series } from "./plot.tsx";

export type Group = "key" | "model" | "day";

export const COUNTS = {
  requests: "Requests",
  errors: "Errors",
  prompt_tokens: "Prompt",
  cached_tokens: "Cached",
  completion_tokens: "Completion",
  reasoning_tokens: "Reasoning",
} as const;

type Count = keyof typeof COUNTS;

export interface UsageRow extends Record<Count, number> {
  key: string | null;
  key_name: string | null;
  model: string | null;
  day: string | null;
  cost: number | null;
}

export interface Total extends Record<Count, number> {
  name: string;
  cost: number | null;
}

/** Lines in a plot that more would make unreadable. */
const MOST_SERIES = 6;

function nameOf(row: UsageRow, group: Group): string {
  if (group === "key") return row.key ? (row.key_name ?? row.key) : "without a key";
  if (group === "model") return row.model || "(unknown model)";
  return row.day ?? "";
}

export function totalsOf(rows: UsageRow[], group: Group): Total[] {
  const totals = new Map<string, Total>();
  for (const row of rows) {
    const name = nameOf(row, group);
    const total = totals.get(name) ?? { name, cost: null, ...zeros() };
    for (const count of Object.keys(COUNTS) as Count[]) total[count] += row[count];
    if (row.cost !== null) total.cost = (total.cost ?? 0) + row.cost;
    totals.set(name, total);
  }
  const all = [...totals.values()];
  return group === "day"
    ? all.sort((one, other) => other.name.localeCompare(one.name))
    : all.sort((one, other) => tokensOf(other) - tokensOf(one));
}

function zeros(): Record<Count, number> {
  return Object.fromEntries(Object.keys(COUNTS).map((count) => [count, 0])) as Record<Count, number>;
}

function tokensOf(row: Record<Count, number>): number {
  return row.prompt_tokens + row.completion_tokens;
}

/** Tokens of each day, without gaps between the first and the last one. The largest groups have lines of their own. */
export function seriesOf(rows: UsageRow[], group: Exclude<Group, "day">): { times: number[]; series: Series[] } {
  const days = daysOf(rows);
  const names = totalsOf(rows, group).map((total) => total.name);
  const shown = names.length > MOST_SERIES ? [...names.slice(0, MOST_SERIES - 1), "others"] : names;
  const tokens = new Map(shown.map((name) => [name, new Map<string, number>()]));
  for (const row of rows) {
    const byDay = tokens.get(nameOf(row, group)) ?? tokens.get("others");
    byDay?.set(row.day ?? "", (byDay.get(row.day ?? "") ?? 0) + tokensOf(row));
  }
  const series = shown.map((label) => ({ label, values: days.map((day) => tokens.get(label)?.get(day) ?? 0) }));
  return { times: days.map((day) => Date.parse(day) / 1000), series };
}

function daysOf(rows: UsageRow[]): string[] {
  const known = rows.map((row) => row.day ?? "").sort();
  const [first, last] = [known[0], known.at(-1)];
  const days: string[] = [];
  for (let day = first; day && last && day <= last; day = dayAfter(day)) days.push(day);
  return days;
}

function dayAfter(day: string): string {
  return new Date(Date.parse(day) + 24 * 3600 * 1000).toISOString().slice(0, 10);
}

const COLUMNS = ["key", "key_name", "model", "day", ...Object.keys(COUNTS), "cost"] as (keyof UsageRow)[];

/** The rows as CSV, as `crossette usage --csv` writes them. */
export function csvOf(rows: UsageRow[]): string {
  return [COLUMNS.join(","), ...rows.map((row) => COLUMNS.map((name) => cell(row[name])).join(","))]
    .join("\n")
    .concat("\n");
}

/** Names may begin with what a spreadsheet would compute: such a text gets an apostrophe. */
function cell(value: string | number | null): string {
  if (value === null) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
