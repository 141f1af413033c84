import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Windowed } from "../ui/windowed.tsx";
import type { Token } from "./answer.ts";
import { Inspector } from "./inspector.tsx";

const CHUNK = 64;

interface Props {
  tokens: Token[];
  label: string;
  /** Another one when tokens were added. */
  version: number;
  /** How many of the first tokens came from the prefix cache. */
  cached?: number;
  /** Continues from a token of its own in place of the one at a position; absent where nothing can go on. */
  branch?: ((position: number, id: number) => void) | undefined;
}

/** Tokens, shaded by their probability. The chosen one is inspected below them; arrow keys go to its neighbours. */
export function TokenView({ tokens, label, cached = 0, branch }: Props) {
  const [chosen, setChosen] = useState<number | null>(null);
  const place = useRef<HTMLDivElement>(null);
  const token = chosen === null ? undefined : tokens[chosen];
  const isMoved = useRef(false);
  // Before the next key: an effect after the paint would take its movement for that of the key before.
  useLayoutEffect(() => {
    if (isMoved.current) place.current?.querySelector<HTMLElement>(`[data-position="${chosen}"]`)?.focus();
    isMoved.current = false;
  }, [chosen]);
  const move = (event: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    isMoved.current = true;
    // From the newest one, which may not be rendered yet: keys can come faster than frames.
    setChosen((last) => (last === null ? null : Math.min(tokens.length - 1, Math.max(0, last + by))));
  };
  const chunks = Array.from({ length: Math.ceil(tokens.length / CHUNK) }, (_, index) => index * CHUNK);
  return (
    <div class="token-view">
      {/* biome-ignore lint/a11y/noStaticElementInteractions: the buttons inside take the keys */}
      <div class="token-list" ref={place} onKeyDown={move}>
        {chunks.map((start) => (
          <Windowed key={start}>
            {() =>
              tokens
                .slice(start, start + CHUNK)
                .map((one, index) => (
                  <TokenButton
                    key={start + index}
                    token={one}
                    position={start + index}
                    isChosen={chosen === start + index}
                    isFirst={chosen === null && start + index === 0}
                    isCached={start + index < cached}
                    choose={setChosen}
                  />
                ))
            }
          </Windowed>
        ))}
      </div>
      <Legend tokens={tokens} cached={cached} />
      {token && chosen !== null ? (
        <Inspector
          token={token}
          position={chosen}
          isCached={chosen < cached}
          before={chosen > 0 ? (tokens[chosen - 1]?.time ?? null) : null}
          branch={branch && ((id) => branch(chosen, id))}
          close={() => setChosen(null)}
        />
      ) : (
        <p class="note">{label}</p>
      )}
    </div>
  );
}

const SHADES = { p1: "to 10 %", p2: "to 30 %", p3: "to 60 %", p4: "to 90 %", p5: "above" };

/** What the colours and the lines mean. */
function Legend({ tokens, cached }: { tokens: Token[]; cached: number }) {
  return (
    <ul class="legend" aria-label="Legend">
      {Object.entries(SHADES).map(([shade, meaning]) => (
        <Sign key={shade} look={shade} meaning={meaning} />
      ))}
      {tokens.some((token) => token.isAcceptedDraft) && <Sign look="draft" meaning="accepted draft" />}
      {cached > 0 && <Sign look="cached" meaning="from the cache" />}
    </ul>
  );
}

function Sign({ look, meaning }: { look: string; meaning: string }) {
  return (
    <li>
      <span class={`sign ${look}`} aria-hidden="true" />
      {meaning}
    </li>
  );
}

interface ButtonProps {
  token: Token;
  position: number;
  isChosen: boolean;
  isFirst: boolean;
  isCached: boolean;
  choose: (position: number) => void;
}

function TokenButton({ token, position, isChosen, isFirst, isCached, choose }: ButtonProps) {
  const marks = [isCached && "cached", token.isAcceptedDraft && "draft"].filter(Boolean).join(" ");
  return (
    <button
      type="button"
      class={`token ${shadeOf(token.logprob)} ${marks}`}
      data-position={position}
      aria-pressed={isChosen}
      aria-label={token.text.trim() ? undefined : `white space ${JSON.stringify(token.text)}`}
      tabIndex={isChosen || isFirst ? 0 : -1}
      onClick={() => choose(position)}
    >
      {shownText(token.text)}
    </button>
  );
}

/** White space is shown, or a token of it could not be seen. */
export function shownText(text: string): string {
  return text.replaceAll("\n", "⏎\n").replaceAll("\t", "⇥\t") || "∅";
}

function shadeOf(logprob: number): string {
  const probability = Math.exp(logprob);
  if (probability > 0.9) return "p5";
  if (probability > 0.6) return "p4";
  if (probability > 0.3) return "p3";
  if (probability > 0.1) return "p2";
  return "p1";
}
