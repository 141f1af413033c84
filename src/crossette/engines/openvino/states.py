"""States of recurrent layers: a row for each running sequence, and snapshots in the prefix cache. Row numbers only.

A state stands for all tokens before it, and cannot be cut back. So a prompt can only be continued where a snapshot of
its state was taken, however many of its KV blocks are cached. Snapshots are taken where prompts are likely to be
continued: at the last block border of a prompt, where its conversation goes on, and at the point up to which its blocks
were cached but not its state, as two prompts have parted there before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence as Sequence_

from crossette.engines.openvino.kv_cache import BLOCK_SIZE
from crossette.engines.openvino.prefix_cache import Key
from crossette.engines.openvino.sequence import Sequence

ZERO = -1
"""The source of a copy that clears a row."""


class StatePool:
    """Allocates rows and keeps snapshots; these are given up for running sequences, the least recently used first."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self._empty = list(range(num_rows - 1, -1, -1))
        self._snapshots: OrderedDict[Key, int] = OrderedDict()
        self._claims: dict[Key, Sequence] = {}
        """The sequence that will take a snapshot."""
        self._copies: list[tuple[int, int]] = []
        self._later_copies: list[tuple[int, int]] = []
        """Those from states that the next step computes."""

    @property
    def num_free(self) -> int:
        return len(self._empty) + len(self._snapshots)

    def take_copies(self) -> tuple[tuple[int, int], ...]:
        """The copies (from, to) of rows that the next step begins with, in order; from `ZERO` clears a row."""
        copies, self._copies, self._later_copies = self._copies, self._later_copies, []
        return tuple(copies)

    def num_usable(self, keys: Sequence_[Key]) -> int:
        """After how many blocks, of those that `keys` name from the first on, a prompt can be continued."""
        return next((count for count in range(len(keys), 0, -1) if keys[count - 1] in self._snapshots), 0)

    def begin(self, sequence: Sequence, num_cached: int, num_matched: int) -> None:
        """Give a row to a sequence that continues after `num_cached` blocks of its prompt; `num_matched` are cached.

        The caller has checked `num_free`.
        """
        row = self._take(sequence.keys[num_cached - 1] if num_cached else None)
        sequence.rows = [row]
        borders = {num_matched, sequence.num_reusable} if sequence.num_reusable else set()
        sequence.snapshots = tuple(sorted(border for border in borders if border > num_cached))

    def restore(self, sequence: Sequence, num_cached: int) -> None:
        """Let a sequence continue from the snapshot after `num_cached` blocks of its prompt."""
        source = self._snapshots[sequence.keys[num_cached - 1]]
        self._copies.append((source, sequence.rows[0]))
        while sequence.snapshots and sequence.snapshots[0] <= num_cached:
            self._pass(sequence)

    def claim(self, sequence: Sequence) -> bool:
        """Whether a sequence should compute its prompt now; false while another one takes a snapshot that it can use.

        One that has claims never waits, so that no two wait for each other.
        """
        borders = [sequence.keys[border - 1] for border in sequence.snapshots]
        if any(self._claims.get(key) is sequence for key in borders):
            return True
        first = sequence.num_computed // BLOCK_SIZE
        if any(key in self._claims for key in sequence.keys[first : sequence.num_reusable]):
            return False
        self._claims |= dict.fromkeys(borders, sequence)
        return True

    def note_computed(self, sequence: Sequence) -> None:
        """Take a snapshot if a sequence has reached the next one of its prompt and there is a row for it."""
        if not sequence.snapshots or sequence.num_computed < sequence.snapshots[0] * BLOCK_SIZE:
            return
        key = self._pass(sequence)
        if key not in self._snapshots and self.num_free:
            row = self._take_row()
            self._snapshots[key] = row
            self._copies.append((sequence.rows[0], row))

    def fork(self, sequence: Sequence, fork: Sequence) -> None:
        """Give a row to another choice that continues from the end of a prompt, which the next step computes.

        The caller has checked `num_free`.
        """
        fork.rows = [self._take_row()]
        self._later_copies.append((sequence.rows[0], fork.rows[0]))

    def draft(self, sequence: Sequence, count: int) -> None:
        """Give a sequence rows for the states after each of `count` draft tokens; it has `num_free` of them at most."""
        sequence.rows += [self._take_row() for _ in range(count)]

    def accept(self, sequence: Sequence, num_accepted: int) -> None:
        """Keep the state after the draft tokens that were accepted, and give the other rows back."""
        kept = sequence.rows.pop(num_accepted)
        self._empty += sequence.rows
        sequence.rows = [kept]

    def release(self, sequence: Sequence) -> None:
        """Take a sequence's rows and claims back."""
        while sequence.snapshots:
            self._pass(sequence)
        self._empty += sequence.rows
        sequence.rows = []

    def _take(self, key: Key | None) -> int:
        """A row with the state of a snapshot, or without any key a cleared one."""
        if key is None:
            row = self._take_row()
            self._copies.append((ZERO, row))
            return row
        self._snapshots.move_to_end(key)
        source = self._snapshots[key]
        row = self._take_row()  # the snapshot's own if there is no other
        self._copies.append((source, row))
        return row

    def _take_row(self) -> int:
        return self._empty.pop() if self._empty else self._snapshots.popitem(last=False)[1]

    def _pass(self, sequence: Sequence) -> Key:
        """Remove the next border of a sequence, and its claim on the snapshot there; returns its key."""
        border, *rest = sequence.snapshots
        sequence.snapshots = tuple(rest)
        key = sequence.keys[border - 1]
        if self._claims.get(key) is sequence:
            del self._claims[key]
        return key
