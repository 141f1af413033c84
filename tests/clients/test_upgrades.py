"""Clients that offer an upgrade with their first request, as the JDK's and curl do."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support.api_server import ApiServer, events, say, serving

pytestmark = pytest.mark.all

JAVA = Path(__file__).parent / "java_http.java"
LIMIT_S = 120


def ran(program: str, *arguments: str) -> list[str]:
    """The lines that a program prints."""
    if shutil.which(program) is None:
        pytest.fail(f"This test needs {program}. scripts/test --all installs it.")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def body(api: ApiServer, stream: bool) -> str:
    messages = [{"role": "user", "content": say("Hello, Grüezi")}]
    return json.dumps({"model": "fake", "messages": messages, "stream": stream, "max_tokens": 50})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_jdks_client_is_answered(prefix: str, stream: bool, tmp_path: Path) -> None:
    with serving() as api:
        file = tmp_path / "body.json"
        file.write_text(body(api, stream), encoding="utf-8")
        lines = ran("java", "-Dfile.encoding=UTF-8", str(JAVA), api.url(f"{prefix}/chat/completions"), str(file))
        statuses = [record.status for record in api.observed.records]

    assert [line.partition(" ")[0] for line in lines] == ["200"] * 3
    for line in lines:
        assert said(line.partition(" ")[2].replace("\\n\\n", "\n\n").replace("\\n", "\n"), stream) == "Hello, Grüezi"
    assert statuses == [200] * 3


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_curl_that_asks_for_http_2_is_answered(prefix: str, stream: bool, tmp_path: Path) -> None:
    files = [tmp_path / "first", tmp_path / "second"]
    with serving() as api:
        url = api.url(f"{prefix}/chat/completions")
        ask = ["--silent", "--http2", "--json", body(api, stream), "--write-out", "%{http_version} %{http_code}\n", url]
        lines = ran("curl", *ask, "--output", str(files[0]), "--next", *ask, "--output", str(files[1]))

    assert lines == ["1.1 200"] * 2
    assert [said(file.read_text(encoding="utf-8"), stream) for file in files] == ["Hello, Grüezi"] * 2


def said(answer: str, stream: bool) -> str:
    if not stream:
        content: str = json.loads(answer)["choices"][0]["message"]["content"]
        return content
    frames = events(answer.encode())
    return "".join(choice["delta"].get("content") or "" for frame in frames for choice in frame["choices"])
