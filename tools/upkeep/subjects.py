"""Subjects of commits: `area: what is now true`, in at most 60 characters, without a full stop.

As a program, checks a message or commits: subjects.py --message FILE, subjects.py RANGE
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

MOST = 60
_FORM = re.compile(r"[a-z][a-z0-9_./-]*(, [a-z][a-z0-9_./-]*)*: \S.*")
_OF_GIT = re.compile(r"(Merge|Revert) |(fixup|squash|amend)! ")


def faults(message: str) -> list[str]:
    """What is wrong with a commit's message; empty if nothing is."""
    subject, *rest = re.sub(r"^#.*\n?", "", message, flags=re.MULTILINE).strip().splitlines() or [""]
    if _OF_GIT.match(subject):
        return []
    found = []
    if not _FORM.fullmatch(subject):
        found.append("it is not `area: what is now true`, with a lower-case area")
    if len(subject) > MOST:
        found.append(f"it has {len(subject)} characters, and the limit is {MOST}")
    if subject.endswith("."):
        found.append("it ends with a full stop")
    if rest and rest[0]:
        found.append("the line after it is not empty")
    return [f"{subject!r}: {fault}" for fault in found]


def messages(commits: str, cwd: Path) -> list[str]:
    """The messages of a range of commits, without merges."""
    log = ["git", "log", "--no-merges", "--format=%B%x00", "--end-of-options", commits, "--"]
    printed = subprocess.run(log, cwd=cwd, capture_output=True, text=True, check=True).stdout
    return [message for message in printed.split("\0") if message.strip()]


def main(arguments: list[str]) -> int:
    if len(arguments) == 2 and arguments[0] == "--message":
        checked = [Path(arguments[1]).read_text(encoding="utf-8")]
    elif len(arguments) == 1:
        checked = messages(arguments[0], Path.cwd())
    else:
        print("Give a range of commits, such as main..HEAD, or --message FILE.", file=sys.stderr)
        return 2
    found = [fault for message in checked for fault in faults(message)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
