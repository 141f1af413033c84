import { GitBranch, X } from "lucide-preact";
import type { TopLogprob } from "../api/types.ts";
import type { Token } from "./answer.ts";

interface Props {
  token: Token;
  position: number;
  isCached: boolean;
  /** When the token before it came. */
  before: number | null;
  branch?: ((id: number) => void) | undefined;
  close: () => void;
}

/** All that the API says of one token. */
export function Inspector({ token, position, isCached, before, branch, close }: Props) {
  return (
    <section class="inspector" aria-label={`Token ${position}`}>
      <header>
        <code class="token-text">{JSON.stringify(token.text)}</code>
        <button type="button" class="icon" aria-label="Close the token" onClick={close}>
          <X aria-hidden="true" />
        </button>
      </header>
      <dl>
        <Fact name="Position" value={String(position)} />
        {token.id !== null && <Fact name="Token id" value={String(token.id)} />}
        <Fact name="Bytes" value={token.bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ") || "none"} />
        <Fact name="Model probability" value={probability(token.logprob)} />
        {token.samplingLogprob !== null && <Fact name="Sampled with" value={probability(token.samplingLogprob)} />}
        {token.time !== null && <Fact name="Time" value={timeOf(token.time, before)} />}
        {token.isAcceptedDraft && <Fact name="Draft" value="accepted" />}
        {isCached && <Fact name="Prefix cache" value="read from it" />}
      </dl>
      {token.alternatives.length > 0 && (
        <table>
          <caption>{branch ? "Alternatives. Choose one, and the answer goes on from there." : "Alternatives."}</caption>
          <thead>
            <tr>
              <th scope="col">Token</th>
              <th scope="col">Probability</th>
              <th scope="col" class="number">
                Logprob
              </th>
            </tr>
          </thead>
          <tbody>
            {token.alternatives.map((one) => (
              <Alternative key={one.bytes.join()} one={one} isChosen={isSame(one, token)} branch={branch} />
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

interface AlternativeProps {
  one: TopLogprob;
  isChosen: boolean;
  branch?: ((id: number) => void) | undefined;
}

function Alternative({ one, isChosen, branch }: AlternativeProps) {
  const { token_id: id } = one;
  const text = JSON.stringify(one.token);
  return (
    <tr class={isChosen ? "chosen" : ""}>
      <td>
        {branch && id !== undefined && !isChosen ? (
          <button type="button" class="quiet" onClick={() => branch(id)}>
            <GitBranch aria-hidden="true" />
            <code>{text}</code>
          </button>
        ) : (
          <code>{text}</code>
        )}
      </td>
      <td>
        <meter min={0} max={1} value={Math.exp(one.logprob)} aria-label={`Probability of ${text}`} />{" "}
        {percent(one.logprob)}
      </td>
      <td class="number">{one.logprob.toFixed(4)}</td>
    </tr>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function isSame(one: TopLogprob, token: Token): boolean {
  return one.token_id === undefined ? one.bytes.join() === token.bytes.join() : one.token_id === token.id;
}

function percent(logprob: number): string {
  const value = Math.exp(logprob) * 100;
  return value >= 0.01 ? `${value.toFixed(2)} %` : "< 0.01 %";
}

function probability(logprob: number): string {
  return `${percent(logprob)} (logprob ${logprob.toFixed(4)})`;
}

function timeOf(time: number, before: number | null): string {
  const total = `${milliseconds(time)} after the request`;
  return before === null ? total : `${total}, ${milliseconds(time - before)} after the token before`;
}

/** With a space that does not wrap. */
function milliseconds(seconds: number): string {
  return `${(seconds * 1000).toFixed(1)}\u00a0ms`;
}
