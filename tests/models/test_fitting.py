"""The catalogue, and which of its models fit a machine."""

from __future__ import annotations

import re

import pytest

from crossette.errors import ModelError
from crossette.models import fitting
from crossette.models.catalogue import CATALOGUE, DEFAULT
from crossette.models.catalogue_entry import CatalogueEntry
from crossette.models.fitting import best_here, best_of, memory_of
from crossette.models.reference import CatalogueRef, parse

GIB = 1 << 30
every_entry = pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.name)


@every_entry
def test_every_entry_has_a_revision_a_checksum_and_a_license(entry: CatalogueEntry) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", entry.revision or "")
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.hub_repo)
    assert (entry.terms is None) == (entry.license in ("Apache-2.0", "MIT"))
    assert parse(entry.name) == CatalogueRef(entry)


@every_entry
def test_a_model_needs_more_memory_than_its_file(entry: CatalogueEntry) -> None:
    assert memory_of(entry) > entry.size
    assert (entry.cache_values > 0) == (entry.kind == "generation")


def test_no_file_is_listed_twice() -> None:
    assert len({entry.sha256 for entry in CATALOGUE.values()}) == len(CATALOGUE)
    assert len({(entry.hub_repo, entry.hub_file) for entry in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize("gib", [1, 4, 8, 16, 64])
def test_models_fit_that_need_at_most_half_of_the_memory(gib: int) -> None:
    found = fitting.fitting(gib * GIB)

    fits = {
        name for name, entry in CATALOGUE.items() if entry.kind == "generation" and memory_of(entry) <= gib * GIB / 2
    }
    assert {entry.name for entry in found} == fits
    assert [entry.size for entry in found] == sorted((entry.size for entry in found), reverse=True)


@pytest.mark.parametrize(
    ("gib", "name"), [(2, DEFAULT.name), (4, "qwen3-0.6b"), (8, "qwen3-4b"), (16, "qwen3-8b"), (64, "qwen3-30b-a3b")]
)
def test_the_best_is_the_largest_for_any_chat_that_needs_no_consent(
    monkeypatch: pytest.MonkeyPatch, gib: int, name: str
) -> None:
    monkeypatch.setattr(fitting, "total_memory", lambda: gib * GIB)

    best = best_here()

    assert (best.name, best.terms, best.is_general) == (name, None, True)
    larger = [entry for entry in fitting.fitting(gib * GIB) if entry.size > best.size]
    assert all(entry.terms or not entry.is_general for entry in larger)


def test_if_none_fits_the_error_has_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "total_memory", lambda: GIB // 2)

    with pytest.raises(ModelError, match=r"No model of the catalogue fits half of this machine's 512\.0 MiB"):
        best_here()
    assert best_of([]) is None
