/** Numbers as text, the same in every locale. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function number(value: number): string {
  return value.toLocaleString("en");
}

export function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(1)} %`;
}

export function bytes(value: number): string {
  let [size, unit] = [value, 0];
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size >= 100 || unit === 0 ? size.toFixed(0) : size.toFixed(1)} ${UNITS[unit]}`;
}

/** Seconds since 1970 as a day in UTC. */
export function day(seconds: number | null): string {
  return seconds === null ? "never" : new Date(seconds * 1000).toISOString().slice(0, 10);
}
