"""A request that an upstream answers."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.api.endpoint import BodyT, SentT
from crossette.api.perf_headers import metric_headers
from crossette.api.remote.answer import RemoteAnswer
from crossette.api.remote.request import num_prompts, prompt_size, upstream_body, upstream_path
from crossette.api.run import Begun, Run
from crossette.api.schema.answer import head
from crossette.api.schema.common import ISOLATION_HEADER
from crossette.remote.model import RemoteModel


@dataclass(slots=True, kw_only=True)
class RemoteRun(Run[SentT, BodyT]):
    """A request that an upstream answers. Nothing is sent to it before the answer is read."""

    remote: RemoteModel

    async def _begin(self) -> Begun:
        body, dialect, exchange, remote = self.body, self.dialect, self.exchange, self.remote
        key = body.isolation_key(exchange.headers.get(ISOLATION_HEADER, ""), "")
        sent = upstream_body(body, remote, dialect, key)
        num_choices = num_prompts(body) * body.num_choices
        prompt_tokens = prompt_size(sent)
        max_tokens = self._max_tokens(prompt_tokens, num_choices)
        if max_tokens is not None and body.requested_max_tokens() is None:
            sent["max_tokens"] = max_tokens
        await self.admission.begin_remote(prompt_tokens, num_choices * (max_tokens or 0))
        exchange.answer = answer = RemoteAnswer(
            remote.chunks(upstream_path(body), sent),
            num_choices=num_choices,
            num_prompts=num_prompts(body),
            prompt_tokens=prompt_tokens,
            timings=self.timings,
        )
        first = head(exchange.answer_id, body, (remote.name, remote.model), dialect)
        reply = self.endpoint.reply(first, self.sent, dialect, None)

        def headers() -> dict[str, str]:
            is_known = dialect.metric_headers == "openai" or answer.timings.ended is not None
            return metric_headers(answer, dialect) if is_known else {}

        return Begun(answer, reply, headers)

    def _max_tokens(self, prompt_tokens: int, num_choices: int) -> int | None:
        """The limit of each answer: the request's, or the default within the budget of the key; None for no limit."""
        requested = self.body.requested_max_tokens()
        if requested is not None:
            return requested
        default, most = self.body.default_max_tokens(self.dialect), self.admission.max_generated(prompt_tokens)
        if most is None:
            return default
        each = max(1, most // num_choices)
        return each if default is None else min(each, default)
