"""Downloads from a look-alike of the Hub: continued, several at once, verified; the token is for the Hub alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest

from crossette.errors import ModelError
from crossette.models import download
from crossette.models.pull import pull
from crossette.models.sources import Sources
from crossette.models.store import DOWNLOAD_SUFFIX, ModelStore, StoredModel
from support.hub_server import HubRepository, LookAlike, hub_server
from support.model_fakes import fake_convert, ir_files, no_wheel, sha256

WEIGHTS = bytes(range(256)) * 1600  # 400 KiB
GGUF = b"GGUF" + WEIGHTS
FOLDER = ir_files() | {"openvino_model.bin": WEIGHTS}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LookAlike]:
    """The Hub of this process: `o/gguf` has one GGUF file, `o/ir` a folder, `o/gated` needs a token."""
    with hub_server(
        o__gguf={"m.gguf": GGUF}, o__ir=dict(FOLDER), o__gated=HubRepository({"m.gguf": GGUF}, gated=True)
    ) as it:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", it.hub)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 60)  # a repetition would be counted
        monkeypatch.setattr(download, "PAUSE_S", 0.001)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(variable, raising=False)
        yield it


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def pulled(store: ModelStore, reference: str) -> StoredModel:
    return pull(store, reference, fake_convert, sources=Sources(wheel=no_wheel))


def left_over(store: ModelStore) -> list[str]:
    """Downloads in the store."""
    return [path.name for path in store.root.iterdir() if path.suffix == DOWNLOAD_SUFFIX]


def wait_for_bytes(hub: LookAlike, home: Path) -> None:
    """Wait until the Hub holds back the rest of the weights, and some of them are on the disk."""
    assert hub.held.wait(60)
    while not any(part.stat().st_size for part in home.rglob("openvino_model.bin.part")):
        sleep(0.01)


def starts(hub: LookAlike) -> list[str | None]:
    """The ranges of the requests for large files."""
    return hub.headers("cdn", "range")


def test_a_file_is_downloaded_by_the_commit_and_verified(hub: LookAlike, store: ModelStore) -> None:
    model = pulled(store, "hf:o/gguf")

    record = model.record
    assert (record.revision, record.sha256, record.license) == ("c0ffee" + 34 * "0", sha256(GGUF), "apache-2.0")
    assert hub.sent["m.gguf"] == len(GGUF)
    assert left_over(store) == []


def test_a_cut_connection_is_continued_where_it_ended(hub: LookAlike, store: ModelStore) -> None:
    hub.cuts = [100_000, 50_000]

    assert pulled(store, "hf:o/gguf").record.sha256 == sha256(GGUF)

    assert hub.sent["m.gguf"] == len(GGUF)
    assert starts(hub) == [f"bytes={start}-{len(GGUF) - 1}" for start in (0, 100_000, 150_000)]


def test_the_next_pull_continues_one_that_failed(hub: LookAlike, store: ModelStore) -> None:
    hub.cuts = [100_000, *[0] * (download.RETRIES + 1)]
    with pytest.raises(ModelError, match=r"Can't fetch hf:o/gguf:m.gguf"):
        pulled(store, "hf:o/gguf:m.gguf")
    assert store.names() == []

    assert pulled(store, "hf:o/gguf:m.gguf").record.sha256 == sha256(GGUF)

    assert hub.sent["m.gguf"] == len(GGUF)
    assert left_over(store) == []


def test_a_file_that_changed_meanwhile_begins_anew(hub: LookAlike, store: ModelStore) -> None:
    hub.cuts = [100_000, *[0] * (download.RETRIES + 1)]
    with pytest.raises(ModelError):
        pulled(store, "hf:o/gguf:m.gguf")
    newer = hub.repos["o/gguf"].files["m.gguf"] = GGUF + b"newer"
    reports: list[tuple[str, int, int | None]] = []

    pull(store, "hf:o/gguf:m.gguf", fake_convert, lambda *what: reports.append(what), Sources(wheel=no_wheel))

    assert hub.sent["m.gguf"] == 100_000 + len(newer)
    assert ("Downloading o/gguf (apache-2.0)", len(newer), len(newer)) in reports
    assert left_over(store) == []


def test_the_next_pull_continues_one_that_was_killed(hub: LookAlike, store: ModelStore, tmp_path: Path) -> None:
    hub.holds_at = 200_000
    environ = os.environ | {"HF_ENDPOINT": hub.hub, "CROSSETTE_HOME": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-m", "crossette", "pull", "hf:o/ir"], env=environ)
    try:
        wait_for_bytes(hub, tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    hub.holds_at = None
    hub.released.set()

    assert pulled(store, "hf:o/ir").record.sha256 == sha256(WEIGHTS)

    start = int(str(starts(hub)[-1]).removeprefix("bytes=").partition("-")[0])
    assert 0 < start <= 200_000 + (1 << 14)
    assert left_over(store) == []


def heed_interrupts() -> None:
    """What a shell starts in the background ignores them, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_interrupt_ends_a_pull_and_the_next_one_continues_it(
    hub: LookAlike, store: ModelStore, tmp_path: Path
) -> None:
    hub.holds_at = 200_000
    environ = os.environ | {"HF_ENDPOINT": hub.hub, "CROSSETTE_HOME": str(tmp_path), "HF_HUB_DOWNLOAD_TIMEOUT": "2"}
    command = [sys.executable, "-m", "crossette", "pull", "hf:o/ir"]
    process = subprocess.Popen(command, env=environ, preexec_fn=heed_interrupts)
    wait_for_bytes(hub, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert left_over(store) == [".o--ir.download"]
    hub.holds_at = None
    hub.released.set()

    assert pulled(store, "hf:o/ir").record.sha256 == sha256(WEIGHTS)
    assert not str(starts(hub)[-1]).startswith("bytes=0-")


def test_files_of_a_folder_are_downloaded_at_once(hub: LookAlike, store: ModelStore) -> None:
    large = {
        "openvino_tokenizer.bin": WEIGHTS[:-1],
        "openvino_detokenizer.bin": WEIGHTS[1:],
        "openvino_model.bin": WEIGHTS,
    }
    hub.repos["o/ir"].files |= large
    hub.meeting = threading.Barrier(3)  # no answer before three requests are there

    model = pulled(store, "hf:o/ir")

    assert {name: (model.path / name).read_bytes() for name in large} == large


def test_other_bytes_than_the_checksum_says_are_not_stored(hub: LookAlike, store: ModelStore) -> None:
    hub.damaged = True
    with pytest.raises(ModelError, match=rf"o/gguf/m.gguf has sha256 \w+, not {sha256(GGUF)}: the file is corrupt"):
        pulled(store, "hf:o/gguf")
    assert (store.names(), left_over(store)) == ([], [])

    hub.damaged = False
    assert pulled(store, "hf:o/gguf").record.sha256 == sha256(GGUF)


def test_small_files_are_verified_too(hub: LookAlike, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossette.models.repository.git_sha1_of", lambda path: "0" * 40)

    with pytest.raises(ModelError, match=r"o/ir/\S+ has git's sha1 0+, not \w+: the file is corrupt"):
        pulled(store, "hf:o/ir")


def test_a_file_that_the_disk_has_no_room_for_is_refused_before_its_first_byte(
    hub: LookAlike, store: ModelStore
) -> None:
    hub.claims["openvino_model.bin"] = 10**15

    with pytest.raises(ModelError, match=r"the disk of \S+ has .* free, and 931322\.\d GiB are needed for o/ir"):
        pulled(store, "hf:o/ir")
    assert sum(hub.sent.values()) == 0
    assert (store.names(), left_over(store)) == ([], [])


def test_the_converted_model_must_have_room_as_well(hub: LookAlike, store: ModelStore) -> None:
    with pytest.raises(ModelError, match=r"931322\.\d GiB are needed for o/gguf.* CROSSETTE_HOME"):
        pull(store, "hf:o/gguf", fake_convert, check=lambda head, size, name: 10**15 // 2)
    assert hub.sent["m.gguf"] == 0


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again(hub: LookAlike, store: ModelStore, status: int) -> None:
    hub.busy = [status, status]

    assert pulled(store, "hf:o/gguf").record.sha256 == sha256(GGUF)


def test_a_mirror_without_ranges_begins_anew(hub: LookAlike, store: ModelStore) -> None:
    hub.ranges, hub.cuts = False, [100_000]

    assert pulled(store, "hf:o/gguf").record.sha256 == sha256(GGUF)
    assert hub.sent["m.gguf"] == 100_000 + len(GGUF)


def test_a_mirror_may_know_no_sizes_and_checksums(hub: LookAlike, store: ModelStore) -> None:
    hub.bare, hub.cuts = True, [100_000]

    assert pulled(store, "hf:o/gguf").record.sha256 == sha256(GGUF)
    assert sorted(path.name for path in pulled(store, "hf:o/ir").path.iterdir()) == sorted([*FOLDER, "crossette.json"])


@pytest.mark.parametrize("name", ["../../evil.gguf", "/tmp/evil.gguf", "a/../evil.gguf"])
def test_a_name_that_leaves_the_folder_is_refused(hub: LookAlike, store: ModelStore, name: str) -> None:
    hub.repos["o/gguf"].files = {name: GGUF}

    with pytest.raises(ModelError, match="o/gguf has a file with the invalid name"):
        pulled(store, "hf:o/gguf")
    assert sum(hub.sent.values()) == 0


def test_a_file_that_the_hub_says_is_longer_is_refused(hub: LookAlike, store: ModelStore) -> None:
    hub.claims["m.gguf"] = len(GGUF) + 1

    with pytest.raises(ModelError, match=f"the server sent {len(GGUF)} bytes, where {len(GGUF) + 1} were expected"):
        pulled(store, "hf:o/gguf")


def test_the_token_goes_to_the_hub_and_not_where_it_redirects(
    hub: LookAlike, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setenv("CROSSETTE_API_KEY", "ck_secret")

    pulled(store, "hf:o/gated:m.gguf")

    assert set(hub.headers("hub", "authorization")) == {f"Bearer {hub.token}"}
    assert set(hub.headers("cdn", "authorization")) == {None}
    assert "ck_secret" not in str(hub.requests)


@pytest.mark.parametrize("token", [None, "hf_other"])
def test_a_gated_repository_says_how_to_log_in(
    hub: LookAlike, store: ModelStore, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)

    with pytest.raises(ModelError, match=r"o/gated is gated: accept its terms .* `hf auth login`, or set HF_TOKEN"):
        pulled(store, "hf:o/gated:m.gguf")
    assert hub.sent["m.gguf"] == 0


def test_a_model_that_two_processes_pull_is_downloaded_by_each(
    hub: LookAlike, store: ModelStore, tmp_path: Path
) -> None:
    hub.holds_at = 200_000
    first: list[StoredModel] = []
    thread = threading.Thread(target=lambda: first.append(pulled(store, "hf:o/gguf")))
    thread.start()
    assert hub.held.wait(60)
    hub.holds_at = None

    second = pulled(store, "hf:o/gguf")
    hub.released.set()
    thread.join()

    assert first == [second]
    assert hub.sent["m.gguf"] == 2 * len(GGUF)
    assert left_over(store) == []


def test_a_file_in_the_cache_of_huggingface_is_taken_from_there(
    hub: LookAlike, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "cache/models--o--gguf/snapshots" / hub.commit
    snapshot.mkdir(parents=True)
    (snapshot / "m.gguf").write_bytes(GGUF)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))

    assert pulled(store, "hf:o/gguf").record.sha256 == sha256(GGUF)
    assert hub.sent["m.gguf"] == 0
    assert (snapshot / "m.gguf").read_bytes() == GGUF


def test_a_mirror_is_reached_through_a_proxy(hub: LookAlike, store: ModelStore, tmp_path: Path) -> None:
    proxy = {"HTTP_PROXY": hub.hub, "http_proxy": hub.hub, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    environ = os.environ | proxy | {"HF_ENDPOINT": "http://mirror.invalid", "CROSSETTE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "crossette", "pull", "hf:o/ir"], env=environ, check=True)

    assert store.names() == ["o--ir"]
    assert set(hub.headers("hub", "host")) == {"mirror.invalid"}
