"""A choice in progress: tokens to text, text to pieces, and stop conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import msgspec

from crossette.engine import Tokenizer
from crossette.text.detokenizer import Detokenizer
from crossette.text.output import PlainText
from crossette.text.output_plan import PLAIN, OutputPlan
from crossette.text.pieces import Content, Piece, joined
from crossette.text.stop import ContentStops, StopChecker
from crossette.text.token_offsets import TokenText, Trace
from crossette.types import FinishReason, Logprob, TokenOutput


@dataclass(frozen=True, slots=True)
class Stops:
    """The stop strings and stop tokens of an answer, and whether its text includes them.

    The tokens must be among the request's end tokens: the engine stops at them.
    """

    strings: tuple[str, ...] = ()
    include: bool = False
    token_ids: frozenset[int] = frozenset()


class Delta(msgspec.Struct, frozen=True):
    """New text of one choice. `index` counts the choices of all prompts of the request."""

    index: int
    text: str
    """The raw text with its markup, after the echoed prompt."""
    pieces: tuple[Piece, ...] = ()
    """The parsed text."""
    finish_reason: FinishReason | None = None
    tokens: tuple[TokenText, ...] = ()
    """The tokens whose first character is released with this delta, if tokens were requested."""


class Echo:
    """A prompt, or its last `num_last` tokens, that is echoed at the start of its answers."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], num_last: int) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._first = max(0, len(prompt) - num_last)
        self._logprobs: tuple[Logprob, ...] = ()

    def set_logprobs(self, logprobs: tuple[Logprob, ...] | None) -> None:
        """Set the logprobs of the prompt's tokens, from the second on. The first output of one choice has them."""
        self._logprobs = logprobs or self._logprobs

    def decode(self, detokenizer: Detokenizer) -> tuple[str, list[TokenText]]:
        """Return the text and its tokens. An incomplete character at its end stays in `detokenizer`."""
        text, tokens = "", []
        for index in range(self._first, len(self._prompt)):
            token_id = self._prompt[index]
            logprob = self._logprobs[index - 1] if index and self._logprobs else None
            data = b"" if self._is_added_bos(index) else self._tokenizer.token_text(token_id)
            text += detokenizer.push(data)
            tokens.append(TokenText(token_id, data, detokenizer.begin, logprob))
        return text, tokens

    def _is_added_bos(self, index: int) -> bool:
        return index == 0 and self._prompt[0] == self._tokenizer.bos_token_id


class Choice:
    """Reads the engine's outputs of one choice."""

    def __init__(
        self,
        index: int,
        tokenizer: Tokenizer,
        stops: Stops,
        plan: OutputPlan = PLAIN,
        *,
        traced: bool = False,
        echo: Echo | None = None,
        continued: Sequence[int] = (),
        previous: Choice | None = None,
    ) -> None:
        """The text begins with the tokens `continued`, which the request has.

        `previous` is a failed attempt at the same choice, whose tokens count as well.
        """
        self.index = index
        self.num_tokens = self.num_reasoning = 0
        self.num_cached = self.num_accepted = self.num_rejected = 0
        self.num_retried = 0
        """The tokens of failed attempts, which `num_tokens` includes."""
        self._logprob_sum = 0.0
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer()
        self._plan = plan
        self._parser = plan.parser()
        self._stops = ContentStops(StopChecker(stops.strings, include=stops.include))
        self._stop_token_ids = stops.token_ids
        self._excluded_token_ids = frozenset() if stops.include else stops.token_ids
        self._trace = Trace() if traced else None
        self._echo = echo
        self._is_echoed = echo is not None
        self._continued = continued
        self._num_echoed = 0
        is_parsed = not isinstance(self._parser, PlainText) or plan.is_checked or bool(plan.markup_token_ids)
        has_more = traced or echo is not None or bool(continued)
        self._is_plain = not (is_parsed or has_more or self._excluded_token_ids) and self._stops.is_idle
        """Whether the characters of its tokens are its text and its only content, each as soon as it is complete."""
        self._text = ""
        """Text that was read and not released."""
        self._num_released = 0
        self._all_pieces: list[Piece] = []
        """All pieces so far, if the plan validates the answer."""
        if previous is not None:
            self._add_counts(previous)

    def _add_counts(self, previous: Choice) -> None:
        self.num_tokens = self.num_retried = previous.num_tokens
        self.num_reasoning = previous.num_reasoning
        self.num_cached = previous.num_cached
        self.num_accepted, self.num_rejected = previous.num_accepted, previous.num_rejected

    @property
    def mean_logprob(self) -> float:
        """The mean logprob of its tokens so far, if logprobs were requested."""
        return self._logprob_sum / max(1, self.num_tokens - self.num_retried)

    @property
    def only_calls(self) -> bool:
        """Whether only calls can follow: content that is empty then is null."""
        return self._parser.only_calls

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended it."""
        return self._stops.matched

    def read(self, output: TokenOutput, time: float | None = None) -> Delta | None:
        """Return the delta of an output; None if no text is certain yet. `time` is when it came, in seconds.

        Tokens after the one that completes a stop string are not read, and not counted. Raises OutputMismatch, or
        InvalidRequest, for an answer that ends without matching its output format.
        """
        if not self.num_retried:  # the prompt counts once
            self.num_cached += output.cached_tokens
        self.num_accepted += output.accepted_tokens
        self.num_rejected += output.rejected_tokens
        if self._is_plain:
            return self._read_plain(output)
        echo = self._read_echo(output)
        pieces: list[Piece] = []
        self._read_continued(output, pieces)
        reason = self._read_tokens(output, time, pieces)
        if reason is not None:
            self._finish(pieces, is_cut=reason == FinishReason.LENGTH or self._is_stopped_by_token(output))
            reason = FinishReason.STOP if self._stops.stopped else reason
        elif not pieces and not echo:
            return None
        self._check(pieces, reason, output)
        if echo:
            pieces.insert(0, Content(echo, -len(echo)))  # right before the model's own text
        return self._delta(joined(pieces) if len(pieces) > 1 else pieces, reason)

    def _read_plain(self, output: TokenOutput) -> Delta | None:
        """The delta of an output whose text needs no parsing: most answers are nothing else, token by token."""
        self.num_tokens += len(output.token_ids)
        for logprob in output.logprobs or ():
            self._logprob_sum += logprob.logprob
        push, bytes_of = self._detokenizer.push, self._tokenizer.token_bytes
        text = ""
        for token_id in output.token_ids:
            text += push(bytes_of(token_id))
        if not text:
            return None if output.finish_reason is None else Delta(self.index, "", (), output.finish_reason)
        begin, self._num_released = self._num_released, self._num_released + len(text)
        return Delta(self.index, text, (Content(text, begin),), output.finish_reason)

    def _read_tokens(self, output: TokenOutput, time: float | None, pieces: list[Piece]) -> FinishReason | None:
        """Read the tokens of an output, up to one that completes a stop string. Returns why the choice ends."""
        tokens = zip(output.token_ids, output.logprobs or repeat(None), strict=False)
        for position, (token_id, logprob) in enumerate(tokens):
            if self._stops.stopped:
                break
            self.num_tokens += 1
            if logprob is not None:
                self._logprob_sum += logprob.logprob
            # Drafts come first: what follows the last accepted one was sampled, or forced by a grammar.
            self._parse(self._read_token(token_id, logprob, time, position < output.accepted_tokens), pieces)
        return FinishReason.STOP if self._stops.stopped else output.finish_reason

    def _read_continued(self, output: TokenOutput, pieces: list[Piece]) -> None:
        """Read the tokens that the text begins with, before the first output. They are no part of the counts."""
        continued, self._continued = self._continued, ()
        scores = (output.prompt_logprobs or ())[-len(continued) :]
        for token_id, logprob in zip(continued, scores or repeat(None), strict=False):
            self._parse(self._read_token(token_id, logprob), pieces)
        if continued:
            self.num_reasoning = 0

    def _parse(self, text: str, pieces: list[Piece]) -> None:
        """Parse the text of one token and add the pieces that it completes."""
        was_thinking = self._parser.is_thinking
        if text:
            self._text += text
            for piece in self._parser.push(text):
                pieces += self._stops.push(piece)
        self.num_reasoning += was_thinking or self._parser.is_thinking

    def _finish(self, pieces: list[Piece], *, is_cut: bool) -> None:
        """Add the pieces that were held back, unless a stop string ended the text; `is_cut` if the model did not."""
        if not self._stops.stopped:
            for piece in self._parser.flush(is_cut=is_cut):
                pieces += self._stops.push(piece)
        pieces += self._stops.flush()

    def _check(self, pieces: list[Piece], reason: FinishReason | None, output: TokenOutput) -> None:
        """Validate the answer once it has ended, unless max_tokens cut it."""
        if not self._plan.is_checked:
            return
        self._all_pieces += pieces
        if reason == FinishReason.STOP:
            self._plan.check(self._all_pieces, is_cut=self._stops.stopped or self._is_stopped_by_token(output))

    def _is_stopped_by_token(self, output: TokenOutput) -> bool:
        """Whether the output ends with a stop token of the request."""
        return not self._stop_token_ids.isdisjoint(output.token_ids[-1:])

    def _read_echo(self, output: TokenOutput) -> str:
        """Return the echoed text, before the first token. It is not searched for stop strings."""
        if self._echo is None:
            return ""
        self._echo.set_logprobs(output.prompt_logprobs)
        text, tokens = self._echo.decode(self._detokenizer)
        self._echo = None
        self._num_echoed = len(text)
        self._text += text
        if self._trace is not None:
            for token in tokens:
                self._trace.push(token)
        return text

    def _read_token(
        self, token_id: int, logprob: Logprob | None, time: float | None = None, is_draft: bool = False
    ) -> str:
        """Return the characters that a token completes."""
        if token_id in self._excluded_token_ids:
            return ""
        is_markup = token_id in self._plan.markup_token_ids
        data = self._tokenizer.token_text(token_id) if is_markup else self._tokenizer.token_bytes(token_id)
        text = self._detokenizer.push(data)
        if self._trace is not None:
            data = self._tokenizer.token_text(token_id)
            self._trace.push(TokenText(token_id, data, self._detokenizer.begin, logprob, time, is_draft))
        return text

    def _delta(self, pieces: list[Piece], finish_reason: FinishReason | None) -> Delta:
        if finish_reason is not None and not self._stops.stopped:
            num_new = len(self._text)
        else:
            num_new = self._num_echoed + self._stops.certain(self._parser.position) - self._num_released
        text, self._text = self._text[:num_new], self._text[num_new:]
        self._num_released += num_new
        if self._trace is None:
            return Delta(self.index, text, tuple(pieces), finish_reason)
        tokens = self._trace.release(self._num_released)
        if finish_reason is not None and not self._stops.stopped:
            # The remaining tokens began no released character: an incomplete character, or the end of the sequence.
            tokens += tuple(token for token in self._trace.flush() if self._is_listed(token))
        return Delta(self.index, text, tuple(pieces), finish_reason, tokens)

    def _is_listed(self, token: TokenText) -> bool:
        """Whether a token after the last character is listed: bytes of an incomplete character are.

        The end token is only with an echo and its logprobs. Evaluation harnesses request one token after a prompt, and
        remove the last entry: without the end token, that would be a token of the prompt.
        """
        return bool(self._tokenizer.token_bytes(token.id)) or (self._is_echoed and token.logprob is not None)
