"""The limits of the grammar compiler, and calls of it on a deep stack."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

import llguidance

LIMITS: Final = llguidance.LLParserLimits(
    max_items_in_row=8000,  # four for each optional property: text/schema/rebuild.py lets an object have a thousand
    # Refuses `((a{100}){100}){100}` in half a second, not in five. Allows enums of 10,000 strings.
    initial_lexer_fuel=200_000,
    verbose_errors=False,  # else errors show the whole grammar
)

_STACK_BYTES = 256 * 2**20
"""llguidance follows rules and references recursively, and a stack overflow ends the process.

A thousand nested objects, each a reference, need more than 8 MiB; a schema has at most five thousand parts. Unused
stack takes no memory.
"""

T = TypeVar("T")
_stack_size = threading.Lock()
"""Held while the stack size of new threads, a setting of the whole process, is changed."""


def on_deep_stack(work: Callable[[], T]) -> T:
    """Run `work` in a new thread with a large stack, and wait for it."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    with _stack_size:
        before = threading.stack_size(_STACK_BYTES)
        try:
            threading.Thread(target=run, name="crossette-grammar", daemon=True).start()
        finally:
            threading.stack_size(before)
    return future.result()
