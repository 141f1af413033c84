"""The changelog: a section `## Unreleased`, then one for each version, `## VERSION - DATE`."""

from __future__ import annotations

import re
from datetime import date

UNRELEASED = "## Unreleased"


def section(text: str, heading: str) -> str | None:
    """The text of a section without its heading; None if there is none. `heading` is a version or "Unreleased"."""
    found = re.search(rf"^## {re.escape(heading)}(?: - \S+)?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else None


def cut(text: str, version: str, day: date) -> str:
    """The changelog in which the unreleased is a version. Raises ValueError if nothing is, or it has that version."""
    if section(text, version) is not None:
        raise ValueError(f"CHANGELOG.md has a section {version}. Give a later version.")
    if not section(text, "Unreleased"):
        raise ValueError(f"CHANGELOG.md has nothing under {UNRELEASED}. Write there what changes for users.")
    return text.replace(f"{UNRELEASED}\n", f"{UNRELEASED}\n\n## {version} - {day.isoformat()}\n", 1)
