"""What a GGUF file's header says of it is checked before the rest is downloaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crossette.engines.openvino.convert import check_head, convert
from crossette.errors import ModelError
from crossette.models import repository
from crossette.models.catalogue import CATALOGUE
from crossette.models.catalogue_entry import CatalogueEntry
from crossette.models.pull import no_progress, pull
from crossette.models.sources import Sources
from crossette.models.store import ModelStore, StoredModel
from support.hub_server import LookAlike, hub_server
from support.model_fakes import fake_convert, no_wheel, sha256
from support.tiny_model import write_tiny_gguf

BLOCK = 1 << 16


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of 1.5 MB, whose header has 16 KB."""
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "m.gguf", layers=2, width=256).read_bytes()


@pytest.fixture
def hub(gguf: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[LookAlike]:
    with hub_server(o__r={"m.gguf": gguf}) as it:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", it.hub)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 60)
        monkeypatch.setattr(repository, "HEAD_BLOCK", BLOCK)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield it


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def pulled(store: ModelStore, reference: str, convert: Callable[..., object] = fake_convert) -> StoredModel:
    sources = Sources(wheel=no_wheel)
    return pull(store, reference, convert, no_progress, sources, check_head)  # type: ignore[arg-type]


def entry(gguf: bytes, **more: object) -> CatalogueEntry:
    values = {"hub_repo": "o/r", "hub_file": "m.gguf", "revision": None, "sha256": sha256(gguf), "size": len(gguf)}
    return CatalogueEntry(name="tiny", description="", license="MIT", **(values | more))  # type: ignore[arg-type]


def other_architecture(gguf: bytes) -> bytes:
    """The same name is in all keys; it is the first value."""
    return gguf.replace(b"llama", b"mamba", 1)


def other_tokenizer(gguf: bytes) -> bytes:
    assert gguf.count(b"gpt2") == 1
    return gguf.replace(b"gpt2", b"bert")


def other_type(gguf: bytes) -> bytes:
    """A tensor of the type IQ2_XXS: the number follows its name, the number of its dimensions, and two of them."""
    at = gguf.index(b"blk.0.ffn_up.weight") + len(b"blk.0.ffn_up.weight") + 4 + 2 * 8
    return gguf[:at] + bytes([16, 0, 0, 0]) + gguf[at + 4 :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_architecture, "its architecture is 'mamba', and only llama, .* can be converted"),
        (other_tokenizer, "its tokenizer is 'bert', and only byte-level BPE .* can be converted"),
        (other_type, r"its tensor 'blk\.0\.ffn_up\.weight' is IQ2_XXS, and only .* can be converted"),
        (lambda gguf: b"PK\x03\x04" + gguf, "it starts with 'PK', so it is a zip file, not GGUF"),
    ],
)
@pytest.mark.parametrize("reference", ["hf:o/r", "hf:o/r:m.gguf", "tiny"])
def test_what_cannot_be_converted_is_refused_by_name_before_its_weights_are_downloaded(
    hub: LookAlike,
    store: ModelStore,
    gguf: bytes,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[bytes], bytes],
    reason: str,
    reference: str,
) -> None:
    hub.repos["o/r"].files["m.gguf"] = change(gguf)
    monkeypatch.setitem(CATALOGUE, "tiny", entry(change(gguf)))

    with pytest.raises(ModelError, match=rf"o/r/m\.gguf: {reason}"):
        pulled(store, reference)

    assert len(gguf) > 10 * BLOCK
    assert 0 < hub.sent["m.gguf"] <= BLOCK
    assert list(store.root.iterdir()) == []


def test_the_header_is_downloaded_once(hub: LookAlike, store: ModelStore, gguf: bytes) -> None:
    assert pulled(store, "hf:o/r").record.sha256 == sha256(gguf)

    assert hub.sent["m.gguf"] == len(gguf)
    assert hub.headers("cdn", "range") == [f"bytes=0-{BLOCK - 1}", f"bytes={BLOCK}-{len(gguf) - 1}"]


def test_another_file_than_the_catalogue_says_is_refused_before_its_first_byte(
    hub: LookAlike, store: ModelStore, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "tiny", entry(b"other"))

    with pytest.raises(ModelError, match=rf"o/r/m\.gguf has sha256 {sha256(gguf)}, not {sha256(b'other')}"):
        pulled(store, "tiny")
    assert hub.sent["m.gguf"] == 0


def test_the_size_of_the_converted_weights_is_known(gguf: bytes, store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf)
    with file.open("rb") as head:
        size = check_head(head, len(gguf), "m.gguf")

    model = pulled(store, str(file), convert)

    assert size == pytest.approx((model.path / "openvino_model.bin").stat().st_size, rel=0.02)
