import { render } from "preact";
import { renderInFrames } from "./ui/frames.ts";
import { Loaded } from "./ui/loaded.tsx";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/playground.css";
import "./styles/tokens-view.css";
import "./styles/admin.css";
import { Shell } from "./ui/shell.tsx";
import { applyTheme } from "./ui/theme.ts";

const isAdmin = location.pathname.replace(/\/+$/, "").endsWith("/admin");
const load = isAdmin ? () => import("./admin/admin-page.tsx") : () => import("./playground/playground-page.tsx");

applyTheme();
renderInFrames();
document.title = isAdmin ? "Administration · crossette" : "Playground · crossette";
const place = document.getElementById("app");
if (place)
  render(
    <Shell page={isAdmin ? "admin" : "playground"}>
      <Loaded load={load} />
    </Shell>,
    place,
  );
