"""Test what talks to crossette, without a model: `FakeEngine` runs the server's code with scripted or seeded text.

An engine of these gives the same answers on every machine, loads in no time, and can be paused, stepped and made to
fail by a test. `FakeTokenizer` makes a token of each byte, so that prompts and outputs can be written by hand. Both
names are public: they stay where they are from one release to the next.
"""

from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import FakeTokenizer

__all__ = ["FakeEngine", "FakeTokenizer"]
