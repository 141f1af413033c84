import { useState } from "preact/hooks";
import { ApiError, json, messageOf } from "../api/client.ts";
import type { Pane } from "./pane.ts";
import { lineOf, pointerIn } from "./pointer.ts";
import type { Settings } from "./settings.ts";

const FORMATS: Record<Settings["format"], string> = {
  text: "Text",
  json_object: "A JSON object",
  json_schema: "JSON of a schema",
};

const EXAMPLE = JSON.stringify(
  { type: "object", properties: { city: { type: "string" }, population: { type: "integer" } }, required: ["city"] },
  null,
  2,
);

interface Finding {
  message: string;
  pointer: string;
  line: number | null;
}

/** The response format. The server checks a schema: its own message is shown at the line that it names. */
export function SchemaEditor({ pane }: { pane: Pane }) {
  const { format, schema } = pane.settings.value;
  const [finding, setFinding] = useState<Finding | null>(null);
  const [isAccepted, setAccepted] = useState(false);
  const check = async () => {
    setFinding(null);
    setAccepted(false);
    try {
      await json(pane.path, {
        body: pane.body([{ kind: "user", text: "" }], { max_tokens: 1, n: 1, logprobs: false }),
      });
      setAccepted(true);
    } catch (error) {
      setFinding(findingOf(error, schema));
    }
  };
  return (
    <div class="stack">
      <label class="field">
        <span>Format</span>
        <select
          value={format}
          onChange={(event) => pane.update({ format: event.currentTarget.value as Settings["format"] })}
        >
          {Object.entries(FORMATS).map(([name, title]) => (
            <option key={name} value={name}>
              {title}
            </option>
          ))}
        </select>
      </label>
      {format === "json_schema" && (
        <>
          <label class="field">
            <span>Schema</span>
            <textarea
              class="code"
              rows={10}
              spellcheck={false}
              value={schema}
              placeholder={EXAMPLE}
              aria-invalid={finding !== null}
              onInput={(event) => {
                pane.update({ schema: event.currentTarget.value });
                setFinding(null);
                setAccepted(false);
              }}
            />
          </label>
          <div class="actions">
            <button type="button" class="quiet" onClick={() => pane.update({ schema: EXAMPLE })}>
              Use the example
            </button>
            <button type="button" onClick={check}>
              Check the schema
            </button>
          </div>
          {isAccepted && (
            <p class="note" role="status">
              The server accepts this schema.
            </p>
          )}
          {finding && <FindingView finding={finding} schema={schema} />}
        </>
      )}
    </div>
  );
}

function FindingView({ finding, schema }: { finding: Finding; schema: string }) {
  const line = finding.line === null ? undefined : schema.split("\n")[finding.line];
  return (
    <div class="notice error" role="alert">
      <div>
        <p>{finding.message}</p>
        {finding.pointer && (
          <p>
            At <code>{finding.pointer}</code>
            {finding.line !== null && `, line ${finding.line + 1}:`}
          </p>
        )}
        {line !== undefined && <pre>{line.trim()}</pre>}
      </div>
    </div>
  );
}

function findingOf(error: unknown, schema: string): Finding {
  const message = messageOf(error);
  const pointer = error instanceof ApiError ? pointerIn(error.param ?? "", message) : "";
  return { message, pointer, line: pointer ? lineOf(schema, pointer) : null };
}
