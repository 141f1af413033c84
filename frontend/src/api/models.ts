import { signal } from "@preact/signals";
import { json, messageOf } from "./client.ts";
import { BASE, type ModelEntry } from "./types.ts";

export const models = signal<ModelEntry[]>([]);
export const modelsError = signal("");
export const areModelsLoading = signal(true);

/** Read the models with their capabilities, which only Fireworks' dialect lists. */
export async function loadModels(): Promise<void> {
  try {
    models.value = (await json<{ data: ModelEntry[] }>(`${BASE.fireworks}/models`)).data;
    modelsError.value = "";
  } catch (error) {
    modelsError.value = messageOf(error);
  } finally {
    areModelsLoading.value = false;
  }
}

export function generates(model: ModelEntry): boolean {
  return model.embedding_dimensions === undefined;
}

export function capabilitiesOf(model: ModelEntry): string[] {
  const found: string[] = [];
  if (model.supports_chat) found.push("chat");
  if (model.supports_tools) found.push("tools");
  if (model.supports_image_input) found.push("images");
  if (model.context_length) found.push(`${model.context_length.toLocaleString("en")} tokens`);
  if (model.parent) found.push(`adapter of ${model.parent}`);
  else if (model.root !== model.id) found.push(`alias of ${model.root}`);
  return found;
}
