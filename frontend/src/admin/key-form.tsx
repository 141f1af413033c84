import type { JsonObject } from "../api/types.ts";
import { ActionDialog } from "../ui/action-dialog.tsx";
import { createKey, type Key, LIMITS, type SecretKey, updateKey } from "./keys.ts";

interface Props {
  /** The key that is changed; none for a new one. */
  of?: Key;
  done: (created?: SecretKey) => void;
  close: () => void;
}

/** Creates a key, or changes one. */
export function KeyForm({ of: key, done, close }: Props) {
  const send = async (form: FormData) => {
    if (!key) return done(await createKey(bodyOf(form)));
    await updateKey(key, changesOf(form, key));
    done();
  };
  return (
    <ActionDialog
      title={key ? `Edit ${key.name}` : "Create a key"}
      action={key ? "Save" : "Create"}
      act={send}
      close={close}
    >
      <label class="field">
        <span>Name</span>
        <input name="name" required maxLength={100} value={key?.name} autocomplete="off" />
      </label>
      <div class="grid">
        <label class="field">
          <span>Expires</span>
          <input
            name="expires"
            placeholder={key?.expires_at ? "unchanged, or never" : "never; or 90d, 2027-01-31"}
            autocomplete="off"
          />
        </label>
        <label class="field">
          <span>Models, with commas</span>
          <input name="models" value={key?.models?.join(", ")} placeholder="all" autocomplete="off" />
        </label>
        {Object.entries(LIMITS).map(([name, title]) => (
          <label class="field" key={name}>
            <span>{title}</span>
            <input
              name={name}
              type="number"
              min={1}
              step={1}
              placeholder="no limit"
              value={key?.limits[name as keyof typeof LIMITS] ?? undefined}
            />
          </label>
        ))}
      </div>
      <label class="check">
        <input type="checkbox" name="is_admin" checked={key?.is_admin} />
        <span>Admin: manages keys and models, reads usage and metrics</span>
      </label>
    </ActionDialog>
  );
}

function textOf(form: FormData, name: string): string {
  return String(form.get(name) ?? "").trim();
}

function modelsOf(form: FormData): string[] | null {
  const names = textOf(form, "models").split(",");
  const given = names.map((name) => name.trim()).filter(Boolean);
  return given.length ? given : null;
}

function limitsOf(form: FormData): JsonObject {
  const entries = Object.keys(LIMITS).map((name) => [name, textOf(form, name) ? Number(textOf(form, name)) : null]);
  return Object.fromEntries(entries) as JsonObject;
}

function bodyOf(form: FormData): JsonObject {
  return {
    name: textOf(form, "name"),
    models: modelsOf(form),
    is_admin: form.has("is_admin"),
    limits: limitsOf(form),
    ...(textOf(form, "expires") ? { expires: textOf(form, "expires") } : {}),
  };
}

function changesOf(form: FormData, key: Key): JsonObject {
  const expires = textOf(form, "expires");
  const { name, ...rest } = bodyOf(form);
  return {
    ...rest,
    ...(name === key.name ? {} : { name: name as string }),
    ...(expires === "never" ? { expires: null } : {}),
  };
}
