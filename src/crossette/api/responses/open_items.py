"""Output items while they are written: each as events, and as it is at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from msgspec import UNSET

from crossette.api.responses import events as ev
from crossette.api.responses.answer import (
    CallItem,
    ItemStatus,
    MessageItem,
    OutputItem,
    OutputText,
    ReasoningItem,
    ReasoningPart,
    SummaryPart,
)
from crossette.api.responses.items import sealed_text
from crossette.api.schema.logprobs import TokenLogprob


class OpenItem(ABC):
    """An item whose text still grows."""

    def __init__(self, item_id: str, index: int) -> None:
        self.id = item_id
        self.index = index
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @abstractmethod
    def item(self, status: ItemStatus) -> OutputItem:
        """The item as it is now; without its text while it is `in_progress`."""

    def begin(self) -> Iterator[ev.Event]:
        yield ev.ItemAdded(output_index=self.index, item=self.item("in_progress"))
        yield from self._begin_part()

    def end(self, status: ItemStatus) -> Iterator[ev.Event]:
        yield from self._end_part()
        yield ev.ItemDone(output_index=self.index, item=self.item(status))

    def _begin_part(self) -> Iterator[ev.Event]:
        yield from ()

    @abstractmethod
    def _end_part(self) -> Iterator[ev.Event]: ...


class OpenMessage(OpenItem):
    def __init__(self, item_id: str, index: int) -> None:
        super().__init__(item_id, index)
        self._logprobs: list[TokenLogprob] = []

    def item(self, status: ItemStatus) -> MessageItem:
        return MessageItem(self.id, status, [] if status == "in_progress" else [self._part()])

    def _part(self) -> OutputText:
        return OutputText(self.text, [], self._logprobs)

    def add(self, text: str, logprobs: list[TokenLogprob]) -> Iterator[ev.Event]:
        self._texts.append(text)
        self._logprobs += logprobs
        yield ev.OutputTextDelta(item_id=self.id, output_index=self.index, delta=text, logprobs=logprobs)

    def _begin_part(self) -> Iterator[ev.Event]:
        yield ev.PartAdded(item_id=self.id, output_index=self.index, part=OutputText(""))

    def _end_part(self) -> Iterator[ev.Event]:
        yield ev.OutputTextDone(item_id=self.id, output_index=self.index, text=self.text, logprobs=self._logprobs)
        yield ev.PartDone(item_id=self.id, output_index=self.index, part=self._part())


class OpenReasoning(OpenItem):
    """Reasoning as `reasoning_text`."""

    def __init__(self, item_id: str, index: int, *, is_sealed: bool) -> None:
        super().__init__(item_id, index)
        self._is_sealed = is_sealed

    def item(self, status: ItemStatus) -> ReasoningItem:
        if status == "in_progress":
            return self._item(status, "")
        return self._item(status, self.text, sealed_text(self.text) if self._is_sealed else None)

    def _item(self, status: ItemStatus, text: str, sealed: str | None = None) -> ReasoningItem:
        return ReasoningItem(self.id, status, [], [ReasoningPart(text)] if text else [], sealed or UNSET)

    def add(self, text: str) -> Iterator[ev.Event]:
        self._texts.append(text)
        yield self._delta(text)

    def _delta(self, text: str) -> ev.Event:
        return ev.ReasoningDelta(item_id=self.id, output_index=self.index, delta=text)

    def _begin_part(self) -> Iterator[ev.Event]:
        yield ev.PartAdded(item_id=self.id, output_index=self.index, part=ReasoningPart(""))

    def _end_part(self) -> Iterator[ev.Event]:
        yield ev.ReasoningDone(item_id=self.id, output_index=self.index, text=self.text)
        yield ev.PartDone(item_id=self.id, output_index=self.index, part=ReasoningPart(self.text))


class OpenSummary(OpenReasoning):
    """Reasoning as its own summary, which is what many clients show."""

    def _item(self, status: ItemStatus, text: str, sealed: str | None = None) -> ReasoningItem:
        return ReasoningItem(self.id, status, [SummaryPart(text)] if text else [], UNSET, sealed or UNSET)

    def _delta(self, text: str) -> ev.Event:
        return ev.SummaryDelta(item_id=self.id, output_index=self.index, delta=text)

    def _begin_part(self) -> Iterator[ev.Event]:
        yield ev.SummaryPartAdded(item_id=self.id, output_index=self.index, part=SummaryPart(""))

    def _end_part(self) -> Iterator[ev.Event]:
        yield ev.SummaryDone(item_id=self.id, output_index=self.index, text=self.text)
        yield ev.SummaryPartDone(item_id=self.id, output_index=self.index, part=SummaryPart(self.text))


class OpenCall(OpenItem):
    def __init__(self, item_id: str, index: int, call_id: str, name: str) -> None:
        super().__init__(item_id, index)
        self._call_id = call_id
        self._name = name

    def item(self, status: ItemStatus) -> CallItem:
        arguments = "" if status == "in_progress" else self.text
        return CallItem(self.id, status, self._call_id, self._name, arguments)

    def add(self, text: str) -> Iterator[ev.Event]:
        self._texts.append(text)
        yield ev.ArgumentsDelta(item_id=self.id, output_index=self.index, delta=text)

    def _end_part(self) -> Iterator[ev.Event]:
        yield ev.ArgumentsDone(item_id=self.id, output_index=self.index, name=self._name, arguments=self.text)
