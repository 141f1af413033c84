"""Test programs that use crossette, without a model.

`FakeEngine` implements the engine interface with scripted or seeded text. It starts at once, gives the same output on
every machine, and a test can pause it, run single steps and make a step fail. `FakeTokenizer` has a token per byte, so
that tests can write prompts and outputs as bytes. Both names are public API: later releases keep them.
"""

from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import FakeTokenizer

__all__ = ["FakeEngine", "FakeTokenizer"]
