import { BookOpen, KeyRound, Moon, Sparkle, Sun } from "lucide-preact";
import type { ComponentChildren } from "preact";
import { isKeyDialogOpen, KeyDialog } from "./key-dialog.tsx";
import { Banners } from "./states.tsx";
import { theme, toggleTheme } from "./theme.ts";

interface Props {
  page: "playground" | "admin";
  children: ComponentChildren;
}

/** The frame of all pages. */
export function Shell({ page, children }: Props) {
  return (
    <div class={`shell ${page}`}>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="./playground">
          <Sparkle aria-hidden="true" />
          crossette
        </a>
        <nav aria-label="Pages">
          <a href="./playground" aria-current={page === "playground" ? "page" : undefined}>
            Playground
          </a>
          <a href="./admin" aria-current={page === "admin" ? "page" : undefined}>
            Admin
          </a>
          <a href="./docs" aria-label="API documentation">
            <BookOpen aria-hidden="true" />
            <span class="wide">API</span>
          </a>
        </nav>
        <button
          type="button"
          class="icon"
          aria-label="API key"
          title="API key"
          onClick={() => {
            isKeyDialogOpen.value = true;
          }}
        >
          <KeyRound aria-hidden="true" />
        </button>
        <ThemeButton />
      </header>
      <Banners />
      <main id="main" tabIndex={-1}>
        {children}
      </main>
      <KeyDialog />
    </div>
  );
}

function ThemeButton() {
  const isDark = theme() === "dark";
  const label = isDark ? "Light theme" : "Dark theme";
  return (
    <button type="button" class="icon" aria-label={label} title={label} onClick={toggleTheme}>
      {isDark ? <Sun aria-hidden="true" /> : <Moon aria-hidden="true" />}
    </button>
  );
}
