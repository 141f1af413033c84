"""The list of `crossette models`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from crossette.cli import main as cli
from crossette.models.store import ModelStore
from crossette.types import Difference
from support.stored_models import add_model


@pytest.mark.parametrize(
    ("difference", "shown"),
    [
        (None, "Q2_K"),
        (Difference(kl=0.00001, largest=0.01, weights=0.0008), "Q2_K"),
        (Difference(kl=0.0004, largest=0.02, weights=0.0034), "Q2_K (up to 0.3% off, KL 0.0004)"),
    ],
)
def test_the_difference_of_converted_weights_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, difference: Difference | None, shown: str
) -> None:
    monkeypatch.setenv("CROSSETTE_HOME", str(tmp_path))
    store = ModelStore(tmp_path / "models")
    add_model(store, "tiny", quantization="Q2_K", converter="fake 1", difference=difference)

    listed = CliRunner().invoke(cli.app, ["models"])

    assert listed.exit_code == 0, listed.output
    assert f" {shown} " in listed.output
