"""Releases, the changelog, and subjects of commits."""

from __future__ import annotations

import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest

from support.installed import ROOT
from upkeep import changelog, release, subjects

LOG = """# Changelog

## Unreleased

### Added

- A thing.

## 0.1.0 - 2026-11-29

- The first.
"""


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with what a build needs, and something unreleased."""
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "src/crossette", tmp_path / "src/crossette", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "CHANGELOG.md").write_text(LOG)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "project: all of it")
    return tmp_path


def test_a_release_is_a_commit_a_tag_and_built_files(clone: Path) -> None:
    files = release.release(clone, "9.9.0", checks=[["grep", "-q", '"9.9.0"', "pyproject.toml"]], is_complete=False)

    assert [file.name for file in files] == ["crossette-9.9.0-py3-none-any.whl", "crossette-9.9.0.tar.gz"]
    assert git(clone, "log", "-1", "--format=%s") == "release: 9.9.0"
    assert git(clone, "tag", "--list", "--format=%(contents)", "v9.9.0") == "9.9.0\n\n### Added\n\n- A thing."
    assert git(clone, "status", "--porcelain") == ""
    log = (clone / "CHANGELOG.md").read_text()
    assert changelog.section(log, "Unreleased") == ""
    assert changelog.section(log, "9.9.0") == "### Added\n\n- A thing."


def test_a_version_that_is_committed_is_only_built_and_tagged(clone: Path) -> None:
    version = changelog.section(LOG, "0.1.0") and "0.1.0"
    text = (clone / "pyproject.toml").read_text()
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "project: 0.1.0")
    assert f'version = "{version}"' in text, "this test wants the number of the first release"

    release.release(clone, "0.1.0", checks=[], is_complete=False)

    assert git(clone, "log", "-1", "--format=%s %D") == "project: 0.1.0 HEAD -> main, tag: v0.1.0"


@pytest.mark.parametrize(
    ("version", "said"),
    [("1.0", "give three numbers"), ("9.9.0", "worktree has changes"), ("8.0.0", "v8.0.0 is tagged")],
)
def test_what_cannot_be_released_is_said_before_anything_is_written(clone: Path, version: str, said: str) -> None:
    git(clone, "tag", "v8.0.0")
    if version == "9.9.0":
        (clone / "README.md").write_text("changed")
    before = git(clone, "status", "--porcelain")

    with pytest.raises(release.ReleaseError, match=said):
        release.release(clone, version, checks=[], is_complete=False)
    assert git(clone, "status", "--porcelain") == before


def test_a_failed_check_makes_no_commit_and_no_tag(clone: Path) -> None:
    with pytest.raises(release.ReleaseError, match="false failed"):
        release.release(clone, "9.9.0", checks=[["false"]], is_complete=False)

    assert (git(clone, "tag"), git(clone, "log", "--format=%s")) == ("", "project: all of it")


def test_a_version_is_cut_once_and_only_with_changes() -> None:
    cut = changelog.cut(LOG, "0.2.0", date(2026, 12, 1))

    assert "## Unreleased\n\n## 0.2.0 - 2026-12-01\n\n### Added" in cut
    with pytest.raises(ValueError, match=r"has a section 0\.2\.0"):
        changelog.cut(cut, "0.2.0", date(2026, 12, 2))
    with pytest.raises(ValueError, match="nothing under ## Unreleased"):
        changelog.cut(cut, "0.3.0", date(2026, 12, 2))


def test_the_changelog_has_a_section_for_the_version_of_the_project() -> None:
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert changelog.section(log, "Unreleased") is not None
    assert changelog.section(log, "0.1.0")


@pytest.mark.parametrize(
    "message",
    [
        "engine: hybrids must have positions too\n\nThe exception was for Granite 4.\n",
        "accounts, cli: keys have names",
        "Merge branch 'main' into topic",
        "tests: a line\n# Please enter the commit message\n",
    ],
)
def test_a_subject_may_be(message: str) -> None:
    assert subjects.faults(message) == []


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("fixed it", "it is not `area: what is now true`"),
        ("Engine: states", "it is not `area: what is now true`"),
        ("engine: " + "x" * 53, "it has 61 characters, and the limit is 60"),
        ("engine: states are kept.", "it ends with a full stop"),
        ("engine: states\nand more", "the line after it is not empty"),
        ("", "it is not `area: what is now true`"),
    ],
)
def test_a_subject_may_not_be(message: str, fault: str) -> None:
    assert any(fault in found for found in subjects.faults(message))


def test_the_subjects_of_a_range_are_checked(clone: Path) -> None:
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "Bad.\n\nWith a body.")

    assert subjects.messages("HEAD~1..HEAD", clone) == ["Bad.\n\nWith a body.\n"]
