"""The container's steps, and the systemd unit: both end in a server that answers."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dockerfile import Stage, built
from support.installed import LIMIT_S, ROOT, assert_answers, listening, run, served

UNIT = ROOT / "deploy/crossette.service"
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if os.geteuid():
        pytest.skip("a chroot needs root")
    with built(ROOT / "Dockerfile", tmp_path_factory.mktemp("image") / "stages") as stage:
        yield stage


@pytest.mark.all
def test_the_steps_of_the_container_end_in_a_server_that_answers(image: Stage, gguf: Path) -> None:
    shutil.copy(gguf, image.folder / "files/var/lib/crossette/tiny.gguf")
    entrypoint = image.words["ENTRYPOINT"]
    created = image.run([*entrypoint, "keys", "create", "ann"])
    assert created.returncode == 0, created.stderr
    serve = shlex.split(re.findall(r"^    command: (.*)$", COMPOSE, re.MULTILINE)[0])
    command = [*entrypoint, *serve, "tiny.gguf", "--port", "0", "--kv-cache", "64MiB"]

    process = subprocess.Popen(image.command(command, {}), stderr=subprocess.PIPE, text=True)
    with listening(process) as server:
        port = server.root.rpartition(":")[2]
        assert_answers(server, created.stdout.strip())
        check = [word.replace("8000", port) for word in image.words["HEALTHCHECK"]]
        healthy, sick = image.run(check), image.run([word.replace("/health/live", "/none") for word in check])
        owners = Path(f"/proc/{process.pid}/status").read_text()

    assert (healthy.returncode, sick.returncode) == (0, 1)
    assert re.findall(r"^[UG]id:.*$", owners, re.MULTILINE) == [f"{x}id:" + "\t10001" * 4 for x in "UG"]
    assert process.returncode == 0


@pytest.mark.all
def test_the_image_holds_no_source_and_no_cache(image: Stage) -> None:
    files = image.folder / "files"

    assert sorted(path.name for path in (files / "opt").iterdir()) == ["crossette"]
    assert not (files / "build").exists()
    assert image.words["CMD"] == ["serve"]


def test_the_command_of_the_unit_serves(programs: Path, gguf: Path, tmp_path: Path) -> None:
    unit = UNIT.read_text(encoding="utf-8")
    config = tmp_path / "crossette.toml"
    config.write_text(f'[server]\nmodel = "{gguf}"\n')
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    command = command.replace("/opt/crossette/bin", str(programs)).replace("/etc/crossette/crossette.toml", str(config))
    (home,) = re.findall(r"^Environment=CROSSETTE_HOME=(.*)$", unit, re.MULTILINE)
    assert home == "/var/lib/" + re.findall(r"^StateDirectory=(.*)$", unit, re.MULTILINE)[0]

    with served(shlex.split(command), tmp_path, CROSSETTE_HOME=str(tmp_path / "home")) as server:
        assert_answers(server)


@pytest.mark.all
def test_systemd_accepts_the_unit(programs: Path, tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/crossette/bin", str(programs)))

    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    run(["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)], tmp_path)
