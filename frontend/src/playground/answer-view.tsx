import { ChevronLeft, ChevronRight, CircleAlert, CircleStop, ScanText } from "lucide-preact";
import { useState } from "preact/hooks";
import { messageOf } from "../api/client.ts";
import type { Answer, Choice } from "./answer.ts";
import { type AnswerTurn, type Pane, shownOf } from "./pane.ts";
import { TextView } from "./text-view.tsx";
import { TimeStrip } from "./time-strip.tsx";
import { TokenView } from "./token-view.tsx";
import { ToolCalls } from "./tool-calls.tsx";

interface Props {
  pane: Pane;
  turn: AnswerTurn;
  isLast: boolean;
}

/** An answer with its choices side by side, and what is known of it. */
export function AnswerView({ pane, turn, isLast }: Props) {
  const answer = shownOf(turn);
  // Parts of an answer change in place: those that show them are rendered again once its version is another.
  const version = answer.version.value;
  const [isTokens, setTokens] = useState(false);
  return (
    <article class="turn answer" aria-label="Answer" aria-busy={answer.isRunning}>
      {answer.status === "waiting" && (
        <p class="waiting" role="status">
          Waiting for the first token
          <span class="dots" aria-hidden="true" />
        </p>
      )}
      <div class={answer.choices.length > 1 ? "choices several" : "choices"}>
        {answer.choices.map((choice, index) => (
          <ChoiceView
            key={index}
            pane={pane}
            turn={turn}
            choice={choice}
            index={index}
            isLast={isLast}
            version={version}
            isTokens={isTokens}
            setTokens={setTokens}
          />
        ))}
      </div>
      {answer.status === "stopped" && (
        <p class="note end">
          <CircleStop aria-hidden="true" /> Stopped.
        </p>
      )}
      {answer.status === "failed" && (
        <div class="notice error" role="alert">
          <CircleAlert aria-hidden="true" />
          <p>
            {answer.error}
            {answer.errorParam && (
              <>
                {" "}
                Field: <code>{answer.errorParam}</code>
              </>
            )}
          </p>
        </div>
      )}
      <Facts pane={pane} turn={turn} answer={answer} version={version} />
    </article>
  );
}

interface ChoiceProps extends Props {
  choice: Choice;
  index: number;
  version: number;
  /** Whether its tokens are shown in place of its text: for all choices and all variants of an answer. */
  isTokens: boolean;
  setTokens: (isTokens: boolean) => void;
}

function ChoiceView({ pane, turn, choice, index, isLast, version, isTokens, setTokens }: ChoiceProps) {
  const answer = shownOf(turn);
  const canBranch =
    isLast && answer.promptIds !== null && choice.tokens.every((token) => token.id !== null) && !choice.calls.length;
  return (
    <section class="choice" aria-label={answer.choices.length > 1 ? `Choice ${index + 1}` : "Text"}>
      {!choice.reasoning.isEmpty && (
        <details class="reasoning" open={choice.content.isEmpty}>
          <summary>Reasoning</summary>
          <TextView text={choice.reasoning} />
        </details>
      )}
      {isTokens ? (
        <TokenView
          tokens={choice.tokens}
          version={version}
          label="Choose a token to see its probability, its alternatives, its bytes and its time."
          branch={canBranch ? (position, id) => pane.branch(turn, index, position, id) : undefined}
        />
      ) : (
        <TextView text={choice.content} />
      )}
      {choice.calls.length > 0 && (
        <ToolCalls pane={pane} calls={choice.calls} version={version} isOpen={isLast && !answer.isRunning} />
      )}
      {choice.tokens.length > 0 && !answer.isRunning && (
        <>
          <TimeStrip tokens={choice.tokens} />
          <div class="view-switch">
            <button type="button" class="quiet" aria-pressed={isTokens} onClick={() => setTokens(!isTokens)}>
              <ScanText aria-hidden="true" />
              Tokens
            </button>
          </div>
        </>
      )}
    </section>
  );
}

interface FactsProps {
  pane: Pane;
  turn: AnswerTurn;
  answer: Answer;
  version: number;
}

function Facts({ pane, turn, answer, version }: FactsProps) {
  if (answer.isRunning) return null;
  return (
    <footer class="facts">
      {turn.variants.length > 1 && <Variants pane={pane} turn={turn} />}
      {factsOf(answer).map((fact) => (
        <span key={fact}>{fact}</span>
      ))}
      {answer.promptIds && <PromptTokens pane={pane} turn={turn} answer={answer} version={version} />}
    </footer>
  );
}

function Variants({ pane, turn }: { pane: Pane; turn: AnswerTurn }) {
  const last = turn.variants.length - 1;
  return (
    <span class="variants">
      <button
        type="button"
        class="icon"
        aria-label="Answer before"
        disabled={turn.shown === 0}
        onClick={() => pane.show(turn, turn.shown - 1)}
      >
        <ChevronLeft aria-hidden="true" />
      </button>
      {turn.shown + 1} of {turn.variants.length}
      <button
        type="button"
        class="icon"
        aria-label="Answer after"
        disabled={turn.shown === last}
        onClick={() => pane.show(turn, turn.shown + 1)}
      >
        <ChevronRight aria-hidden="true" />
      </button>
    </span>
  );
}

function PromptTokens({ pane, turn, answer, version }: FactsProps) {
  const [isOpen, setOpen] = useState(false);
  const [error, setError] = useState("");
  const open = async () => {
    setOpen(!isOpen);
    if (isOpen || answer.promptTokens) return;
    try {
      await pane.scorePrompt(turn);
    } catch (reason) {
      setError(messageOf(reason));
    }
  };
  return (
    <>
      <button type="button" class="quiet" aria-expanded={isOpen} onClick={open}>
        <ScanText aria-hidden="true" />
        Prompt tokens
      </button>
      {isOpen && error && <p class="error-text">{error}</p>}
      {isOpen && answer.promptTokens && (
        <div class="prompt-tokens">
          <TokenView
            tokens={answer.promptTokens}
            version={version}
            cached={answer.usage?.prompt_tokens_details?.cached_tokens ?? 0}
            label="Choose a token to see its probability. Underlined tokens came from the prefix cache."
          />
        </div>
      )}
    </>
  );
}

const REASONS: Record<string, string> = {
  stop: "ended by itself or a stop string",
  length: "ended at max_tokens",
  tool_calls: "calls tools",
};

function factsOf(answer: Answer): string[] {
  const facts: string[] = [];
  const { usage } = answer;
  const times = timesOf(answer);
  if (usage) {
    facts.push(`${usage.completion_tokens} tokens`);
    const { count, seconds } = times;
    if (count > 1 && seconds > 0) facts.push(`${((count - 1) / seconds).toFixed(1)} tokens/s`);
    facts.push(`prompt ${usage.prompt_tokens}, ${usage.prompt_tokens_details?.cached_tokens ?? 0} from the cache`);
    const drafts = answer.choices.flatMap((choice) => choice.tokens).filter((token) => token.isAcceptedDraft).length;
    if (drafts) facts.push(`${drafts} accepted drafts`);
  }
  if (times.firstMs !== null) facts.push(`first token after ${times.firstMs.toFixed(0)} ms`);
  const reasons = new Set(answer.choices.map((choice) => choice.finishReason).filter((reason) => reason !== null));
  for (const reason of reasons) facts.push(REASONS[reason] ?? reason);
  return facts;
}

interface Times {
  count: number;
  /** From the first token to the last. */
  seconds: number;
  firstMs: number | null;
}

/** When the server made the tokens, if it says so; else when they came here, which a busy browser notes too late. */
function timesOf({ choices, usage, firstTokenMs, totalMs }: Answer): Times {
  const made = choices.flatMap(({ tokens }) => tokens.flatMap(({ time }) => time ?? [])).sort((a, b) => a - b);
  const [first, last] = [made[0], made.at(-1)];
  if (first !== undefined && last !== undefined)
    return { count: made.length, seconds: last - first, firstMs: first * 1000 };
  const seconds = ((totalMs ?? 0) - (firstTokenMs ?? 0)) / 1000;
  return { count: usage?.completion_tokens ?? 0, seconds, firstMs: firstTokenMs };
}
