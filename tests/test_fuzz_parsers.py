"""The parsers under atheris, for a bounded number of inputs. `support/fuzz_parsers.py` runs as long as one likes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crossette.text.tool_calls.families import FORMATS
from support.output_recordings import REASONING, RECORDINGS

TESTS = Path(__file__).parent
RUNS = 30_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is for Linux on x86-64"),
]


def words() -> set[str]:
    """What chance would not find: markup, and the words of recorded outputs, schemas and grammars."""
    markup = {mark for known in FORMATS.values() for mark in (*known.openings, *known.layout, *known.markers)}
    thoughts = {mark for known in REASONING.values() for mark in (known.begin, known.end, *known.layout)}
    said = {word for recording in RECORDINGS for word in re.findall(r'[{\["][^\s]{2,20}', recording.text)}
    return markup | thoughts | said | {'"type":', '"properties":', '"$ref":', "root ::= ", "(?<=", "[^\\w"}


def test_no_input_breaks_a_promise_of_a_parser(tmp_path: Path) -> None:
    dictionary = tmp_path / "words"
    spelled = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in sorted(words()))
    dictionary.write_text("".join(f'"{word}"\n' for word in spelled if word))

    ran = subprocess.run(
        # No limit of memory: what libFuzzer reads is the peak of this process as well, from before its own began.
        [
            sys.executable,
            "-m",
            "support.fuzz_parsers",
            f"-runs={RUNS}",
            "-seed=5",
            "-max_len=300",
            "-rss_limit_mb=0",
            f"-dict={dictionary}",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,  # where an input that breaks something is kept
        env={"PYTHONPATH": str(TESTS)},
    )

    assert ran.returncode == 0, ran.stderr[-4000:]
    assert f"Done {RUNS} runs" in ran.stderr
