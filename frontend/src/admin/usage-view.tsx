import { Download } from "lucide-preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { json, messageOf } from "../api/client.ts";
import { BASE } from "../api/types.ts";
import { download } from "../ui/download.ts";
import { number } from "../ui/numbers.ts";
import { Scrolling } from "../ui/scrolling.tsx";
import { Empty, Failure, Loading } from "../ui/states.tsx";
import { Plot } from "./plot.tsx";
import { COUNTS, csvOf, type Group, seriesOf, totalsOf, type UsageRow } from "./usage.ts";

const SINCE = { "24h": "24 hours", "7d": "7 days", "30d": "30 days", "365d": "a year", "": "always" };
const GROUPS: Record<Group, string> = { key: "Key", model: "Model", day: "Day" };

/** Requests and tokens by key, model and day, from GET /usage. */
export function UsageView() {
  const [since, setSince] = useState("30d");
  const [group, setGroup] = useState<Group>("key");
  const [rows, setRows] = useState<UsageRow[] | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    let isOpen = true;
    const query = new URLSearchParams({ group_by: "key,model,day", ...(since ? { since } : {}) });
    json<{ data: UsageRow[] }>(`${BASE.openai}/usage?${query}`).then(
      ({ data }) => {
        if (!isOpen) return;
        setRows(data);
        setError("");
      },
      (reason) => isOpen && setError(messageOf(reason)),
    );
    return () => {
      isOpen = false;
    };
  }, [since]);
  const plotted = useMemo(() => seriesOf(rows ?? [], group === "day" ? "model" : group), [rows, group]);
  return (
    <section class="stack" aria-label="Usage">
      <div class="controls">
        <label class="field">
          <span>Since</span>
          <select value={since} onChange={(event) => setSince(event.currentTarget.value)}>
            {Object.entries(SINCE).map(([value, title]) => (
              <option key={value} value={value}>
                {title}
              </option>
            ))}
          </select>
        </label>
        <label class="field">
          <span>By</span>
          <select value={group} onChange={(event) => setGroup(event.currentTarget.value as Group)}>
            {Object.entries(GROUPS).map(([value, title]) => (
              <option key={value} value={value}>
                {title}
              </option>
            ))}
          </select>
        </label>
        <button
          type="button"
          disabled={!rows?.length}
          onClick={() => download("usage.csv", csvOf(rows ?? []), "text/csv")}
        >
          <Download aria-hidden="true" />
          CSV
        </button>
      </div>
      {error && <Failure message={error} />}
      {!rows && !error && <Loading what="the usage" />}
      {rows?.length === 0 && <Empty>No request in this time.</Empty>}
      {rows && rows.length > 0 && (
        <>
          <Plot label={`Tokens per day by ${group === "day" ? "model" : group}`} {...plotted} isDaily />
          <Totals rows={rows} group={group} />
        </>
      )}
    </section>
  );
}

function Totals({ rows, group }: { rows: UsageRow[]; group: Group }) {
  const totals = totalsOf(rows, group);
  return (
    <Scrolling label="Table of usage">
      <table>
        <thead>
          <tr>
            <th scope="col">{GROUPS[group]}</th>
            {Object.values(COUNTS).map((title) => (
              <th scope="col" class="number" key={title}>
                {title}
              </th>
            ))}
            <th scope="col" class="number">
              Cost
            </th>
          </tr>
        </thead>
        <tbody>
          {totals.map((total) => (
            <tr key={total.name}>
              <th scope="row">{total.name}</th>
              {Object.keys(COUNTS).map((name) => (
                <td class="number" key={name}>
                  {number(total[name as keyof typeof COUNTS])}
                </td>
              ))}
              <td class="number">{total.cost === null ? "–" : total.cost.toFixed(4)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scrolling>
  );
}
