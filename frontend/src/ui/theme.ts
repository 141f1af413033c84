import { signal } from "@preact/signals";

type Theme = "light" | "dark";

const STORED = "crossette-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

/** The chosen theme; null follows the system. */
const chosen = signal(localStorage.getItem(STORED) as Theme | null);
const systemTheme = signal<Theme>(system.matches ? "dark" : "light");

system.addEventListener("change", (event) => {
  systemTheme.value = event.matches ? "dark" : "light";
  applyTheme();
});

export function theme(): Theme {
  return chosen.value ?? systemTheme.value;
}

export function applyTheme(): void {
  document.documentElement.dataset.theme = theme();
}

export function toggleTheme(): void {
  chosen.value = theme() === "dark" ? "light" : "dark";
  localStorage.setItem(STORED, chosen.value);
  applyTheme();
}
