"""The lock files have every dependency of pyproject.toml, in a version that it allows. scripts/lock writes them."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from support.installed import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = {"container": ["postgres", "otel"], "development": list(EXTRAS)}


def locked(name: str, python: str) -> dict[str, str]:
    """The versions that a lock file has for a Python on Linux."""
    lines = re.findall(r"^(\S+)==([^\s;]+)(?: ; ([^\\\n]+))?", (ROOT / f"requirements/{name}.txt").read_text(), re.M)
    where = environment(python)
    return {package: version for package, version, marker in lines if not marker or Marker(marker).evaluate(where)}


def environment(python: str) -> dict[str, str]:
    linux = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"}
    return {**default_environment(), **linux, "python_version": python, "python_full_version": f"{python}.0"}  # type: ignore[dict-item]


def is_in(versions: dict[str, str], requirement: Requirement) -> bool:
    version = versions.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version)


def of_extras(requirement: Requirement, python: str) -> list[Requirement]:
    """What the extras of a requirement add, by the metadata of the installed package."""
    where = [{**environment(python), "extra": extra} for extra in requirement.extras]
    parsed = [Requirement(text) for text in requires(requirement.name) or []] if where else []
    return [each for each in parsed if each.marker and any(each.marker.evaluate(extra) for extra in where)]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("name", list(LOCKS))
def test_a_lock_has_what_the_project_requires(name: str, python: str) -> None:
    assert python in SpecifierSet(PROJECT["requires-python"])
    versions = locked(name, python)
    wanted = [Requirement(text) for group in LOCKS[name] for text in EXTRAS[group]]
    wanted += [Requirement(text) for text in PROJECT["dependencies"]]
    wanted = [each for each in wanted if not each.marker or each.marker.evaluate(environment(python))]
    wanted += [more for each in wanted for more in of_extras(each, python) if each.name != PROJECT["name"]]
    missing = {str(each) for each in wanted if not is_in(versions, each) and each.name != PROJECT["name"]}

    assert missing == set(), "run scripts/lock"


def test_the_image_has_the_versions_that_the_tests_run_with() -> None:
    for python in ("3.11", "3.13"):
        assert locked("container", python).items() <= locked("development", python).items()


def test_every_file_of_the_image_is_checked_by_its_hash() -> None:
    text = (ROOT / "requirements/container.txt").read_text(encoding="utf-8")
    packages = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))

    assert len(packages) > 40
    assert [package for package in packages if "--hash=sha256:" not in package] == []
