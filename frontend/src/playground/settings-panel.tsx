import { useId } from "preact/hooks";
import type { Field } from "../api/fields.ts";
import { areModelsLoading, capabilitiesOf, generates, models, modelsError } from "../api/models.ts";
import type { DialectName } from "../api/types.ts";
import { FieldControl } from "./field-control.tsx";
import type { Pane } from "./pane.ts";
import { SchemaEditor } from "./schema-editor.tsx";
import type { Mode } from "./settings.ts";

const DIALECTS: Record<DialectName, string> = { openai: "OpenAI (/v1)", fireworks: "Fireworks (/inference/v1)" };
const MODES: Record<Mode, string> = { chat: "Chat", completion: "Completion" };

/** Fields that are shown first; all others of the API are below them. */
const FIRST = ["temperature", "top_p", "top_k", "max_tokens", "seed", "n", "stop"];
const SAMPLING = [
  ...["min_p", "typical_p", "mirostat_target", "mirostat_lr", "repetition_penalty", "frequency_penalty"],
  ...["presence_penalty", "min_tokens", "ignore_eos", "logit_bias", "stop_token_ids", "include_stop_str_in_output"],
];

export function SettingsPanel({ pane, fields }: { pane: Pane; fields: Field[] }) {
  const settings = pane.settings.value;
  const named = new Map(fields.map((field) => [field.name, field]));
  const of = (names: string[]) => names.flatMap((name) => named.get(name) ?? []);
  const others = fields.filter(({ name }) => !FIRST.includes(name) && !SAMPLING.includes(name));
  return (
    <div class="settings">
      <ModelPicker pane={pane} />
      <Segments
        label="Endpoint"
        options={MODES}
        value={settings.mode}
        choose={(mode) => pane.update({ mode: mode as Mode })}
      />
      <label class="field">
        <span>Dialect</span>
        <select
          value={settings.dialect}
          onChange={(event) => pane.update({ dialect: event.currentTarget.value as DialectName })}
        >
          {Object.entries(DIALECTS).map(([name, title]) => (
            <option key={name} value={name}>
              {title}
            </option>
          ))}
        </select>
      </label>
      {settings.mode === "chat" && (
        <label class="field">
          <span>System prompt</span>
          <textarea
            rows={2}
            value={settings.system}
            onInput={(event) => pane.update({ system: event.currentTarget.value })}
          />
        </label>
      )}
      <label class="check">
        <input
          type="checkbox"
          checked={settings.tokens}
          onChange={(event) => pane.update({ tokens: event.currentTarget.checked })}
        />
        <span>Request tokens with probabilities and times</span>
      </label>
      <Group title="Main fields" fields={of(FIRST)} pane={pane} isOpen />
      <Group title="Sampling" fields={of(SAMPLING)} pane={pane} />
      <details class="group">
        <summary>Response format</summary>
        <SchemaEditor pane={pane} />
      </details>
      {settings.mode === "chat" && <Tools pane={pane} />}
      <Group title="All other fields" fields={others} pane={pane} />
    </div>
  );
}

function Group({
  title,
  fields,
  pane,
  isOpen = false,
}: {
  title: string;
  fields: Field[];
  pane: Pane;
  isOpen?: boolean;
}) {
  const given = pane.settings.value.fields;
  const numSet = fields.filter(({ name }) => given[name]).length;
  return (
    <details class="group" open={isOpen}>
      <summary>
        {title}
        {numSet > 0 && <span class="count">{numSet} set</span>}
      </summary>
      <div class="grid">
        {fields.map((field) => (
          <FieldControl
            key={field.name}
            field={field}
            text={given[field.name] ?? ""}
            change={(text) => pane.update({ fields: { ...pane.settings.value.fields, [field.name]: text } })}
          />
        ))}
      </div>
    </details>
  );
}

function ModelPicker({ pane }: { pane: Pane }) {
  const id = useId();
  const { model } = pane.settings.value;
  const known = models.value.filter(generates);
  const chosen = known.find((one) => one.id === model);
  return (
    <div class="field">
      <label for={id}>Model</label>
      <select id={id} value={model} onChange={(event) => pane.update({ model: event.currentTarget.value })}>
        {!chosen && <option value={model}>{model || (areModelsLoading.value ? "Loading…" : "No model")}</option>}
        {known.map((one) => (
          <option key={one.id} value={one.id}>
            {one.id} ({one.state.replaceAll("_", " ")})
          </option>
        ))}
      </select>
      {chosen && (
        <p class="note capabilities">
          <span class={`dot ${chosen.state}`} aria-hidden="true" />
          {[chosen.state.replaceAll("_", " "), ...capabilitiesOf(chosen)].join(" · ")}
        </p>
      )}
      {(chosen?.error || modelsError.value) && <p class="error-text">{chosen?.error || modelsError.value}</p>}
    </div>
  );
}

function Tools({ pane }: { pane: Pane }) {
  const { tools, toolChoice } = pane.settings.value;
  return (
    <details class="group">
      <summary>
        Tools
        {tools.trim() && <span class="count">set</span>}
      </summary>
      <label class="field">
        <span>tools, as JSON</span>
        <textarea
          class="code"
          rows={8}
          spellcheck={false}
          value={tools}
          placeholder={EXAMPLE_TOOLS}
          onInput={(event) => pane.update({ tools: event.currentTarget.value })}
        />
      </label>
      <div class="actions">
        <button type="button" class="quiet" onClick={() => pane.update({ tools: EXAMPLE_TOOLS })}>
          Use the example
        </button>
      </div>
      <label class="field">
        <span>tool_choice</span>
        <input
          value={toolChoice}
          placeholder="auto, none, required, or an object"
          onInput={(event) => pane.update({ toolChoice: event.currentTarget.value })}
        />
      </label>
    </details>
  );
}

const EXAMPLE_TOOLS = JSON.stringify(
  [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "The weather in a city.",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      },
    },
  ],
  null,
  2,
);

interface SegmentsProps {
  label: string;
  options: Record<string, string>;
  value: string;
  choose: (value: string) => void;
}

function Segments({ label, options, value, choose }: SegmentsProps) {
  return (
    <fieldset class="segments">
      <legend>{label}</legend>
      {Object.entries(options).map(([name, title]) => (
        <button key={name} type="button" aria-pressed={name === value} onClick={() => choose(name)}>
          {title}
        </button>
      ))}
    </fieldset>
  );
}
