// What the TypeScript programs of this folder share: what they ask, and how they tell what came of it.

interface Asked {
  root: string;
  model: string;
  prompt: string;
  stop: string;
  slashed: string;
  broken: string;
  refused: Record<string, string>;
  long: string;
  real_root: string;
  real_model: string;
  question: string;
  orders: Record<string, string>;
}

export type Scenarios = Record<string, () => Promise<unknown>>;

export const asked: Asked = JSON.parse(process.argv[2]);

export function answer(text: string, reason: string | null, usage: [number?, number?] | null) {
  return { text, finish_reason: reason, usage };
}

/** Print what came of the scenarios of each base URL. `bases` are paths under the root. */
export async function tell(bases: string[], scenarios: (baseURL: string) => Scenarios) {
  const told: Record<string, Record<string, unknown>> = {};
  for (const base of bases) {
    told[base] = {};
    for (const [name, scenario] of Object.entries(scenarios(asked.root + base))) told[base][name] = await scenario();
  }
  console.log(JSON.stringify(told));
}
