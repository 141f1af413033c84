"""Fuzzing of the parsers with atheris, for a fixed number of inputs; `support/fuzz_parsers.py` runs without limit."""

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


def tokens() -> set[str]:
    """A fuzzing dictionary: markup, and strings of recorded outputs, schemas and grammars."""
    markup = {tag for known in FORMATS.values() for tag in (*known.openings, *known.layout, *known.markers)}
    reasoning = {tag for known in REASONING.values() for tag in (known.begin, known.end, *known.layout)}
    outputs = {text for recording in RECORDINGS for text in re.findall(r'[{\["][^\s]{2,20}', recording.text)}
    return markup | reasoning | outputs | {'"type":', '"properties":', '"$ref":', "root ::= ", "(?<=", "[^\\w"}


def test_no_input_violates_an_invariant_of_a_parser(tmp_path: Path) -> None:
    dictionary = tmp_path / "dictionary"
    escaped = ("".join(f"\\x{byte:02x}" for byte in token.encode()) for token in sorted(tokens()))
    dictionary.write_text("".join(f'"{token}"\n' for token in escaped if token))

    ran = subprocess.run(
        # No memory limit: libFuzzer reads the peak RSS, which includes this process before the fork.
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
        cwd=tmp_path,  # where libFuzzer stores failing inputs
        env={"PYTHONPATH": str(TESTS)},
    )

    assert ran.returncode == 0, ran.stderr[-4000:]
    assert f"Done {RUNS} runs" in ran.stderr
