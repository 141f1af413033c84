import { useId } from "preact/hooks";
import type { Field } from "../api/fields.ts";

interface Props {
  field: Field;
  text: string;
  change: (text: string) => void;
}

/** The control of a request field, with the limits that the API has. Its note is shown while it has the focus. */
export function FieldControl({ field, text, change }: Props) {
  const id = useId();
  const note = `${id}-note`;
  const isWide = field.kind === "json" || field.kind === "list" || field.kind === "text";
  const common = { id, name: field.name, "aria-describedby": note, value: text };
  return (
    <div class={isWide ? "field wide" : "field"}>
      <label for={id}>
        {field.name} <span class="limits">{limitsOf(field)}</span>
      </label>
      <Control field={field} common={common} change={change} />
      <p class="note on-focus" id={note}>
        {field.note}
      </p>
    </div>
  );
}

interface ControlProps {
  field: Field;
  common: { id: string; name: string; "aria-describedby": string; value: string };
  change: (text: string) => void;
}

function Control({ field, common, change }: ControlProps) {
  switch (field.kind) {
    case "number":
    case "integer":
      return (
        <input
          {...common}
          type="number"
          step={field.kind === "integer" ? 1 : "any"}
          min={field.minimum}
          max={field.maximum}
          placeholder="default"
          onInput={(event) => change(event.currentTarget.value)}
        />
      );
    case "boolean":
    case "choice":
      return (
        <select {...common} onChange={(event) => change(event.currentTarget.value)}>
          <option value="">default</option>
          {(field.options ?? ["true", "false"]).map((option) => (
            <option key={option}>{option}</option>
          ))}
        </select>
      );
    case "text":
      return <input {...common} placeholder="default" onInput={(event) => change(event.currentTarget.value)} />;
    default:
      return (
        <textarea
          {...common}
          class="code"
          rows={2}
          spellcheck={false}
          placeholder={field.kind === "list" ? "one a line" : "JSON"}
          onInput={(event) => change(event.currentTarget.value)}
        />
      );
  }
}

function limitsOf({ minimum, maximum }: Field): string {
  const [low, high] = [minimum, maximum].map(shown);
  if (low && high) return `${low} to ${high}`;
  if (low) return `from ${low}`;
  return high ? `up to ${high}` : "";
}

/** The limits of 64-bit integers say nothing to a reader. */
function shown(limit: number | undefined): string {
  return limit === undefined || Math.abs(limit) > 1e9 ? "" : String(limit);
}
