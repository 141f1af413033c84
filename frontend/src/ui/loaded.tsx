import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { messageOf } from "../api/client.ts";
import { Failure, Loading } from "./states.tsx";

/** A page whose code is loaded when it is shown. */
export function Loaded({ load }: { load: () => Promise<{ default: ComponentType }> }) {
  const [page, setPage] = useState<{ Page: ComponentType } | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    load().then(
      (module) => setPage({ Page: module.default }),
      (reason) => setError(messageOf(reason)),
    );
  }, [load]);
  if (error) return <Failure message={error} />;
  return page ? <page.Page /> : <Loading what="the page" />;
}
