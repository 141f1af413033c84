"""A `vllm serve` process on a loopback port."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from crossette.engine import ModelFiles
from crossette.engines.vllm.settings import VllmSettings
from crossette.errors import ConfigError

log = logging.getLogger(__name__)

MAX_LOGPROBS = 64
END_S = 20.0
"""How long a process may take to end before it is killed."""
_LAST_LINES = 20

_GUARD = 'read line; kill -s TERM -- "-$0"; sleep 20; kill -s KILL -- "-$0"'
"""A shell program that ends the process group $0 once its input is closed: when this process ends, in any way."""


class VllmProcess:
    """A running child process, the leader of a process group of its own.

    Its output goes to the log, line by line. Raises ConfigError if the program cannot be started.
    """

    def __init__(self, files: ModelFiles, settings: VllmSettings) -> None:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.key = secrets.token_urlsafe(24)
        """The API key of the child: without it, others on this machine could use it past the keys of this server."""
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        environment = os.environ | {"VLLM_API_KEY": self.key, "VLLM_NO_USAGE_STATS": "1"}
        if settings.vllm_batch_invariant:
            environment["VLLM_BATCH_INVARIANT"] = "1"
        try:
            self._process = subprocess.Popen(
                command(files, settings, port),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # a Ctrl-C in the terminal is for this server, which ends the child at the end
            )
        except OSError as error:
            raise ConfigError(
                f"--vllm-command {settings.vllm_command} cannot be started: {error.strerror}. Install vLLM in an"
                " environment of its own and give the path of its program, or give --vllm-url."
            ) from error
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._copy_output, name="vllm-log", daemon=True)
        self._reader.start()

    def wait(self, seconds: float) -> bool:
        """Whether the process has ended, at the latest after `seconds`."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def end(self, within_s: float = END_S) -> None:
        """End the process and its workers, by force after `within_s`. Returns once they have ended."""
        self._signal(signal.SIGTERM)
        self.wait(within_s)
        self._signal(signal.SIGKILL)  # also workers that outlive their parent
        self._process.wait()
        self._end_guard()
        self._reader.join(END_S)

    def failure(self) -> str:
        """How it ended, with the last lines of its output."""
        lines = "\n".join(self._lines)
        return f"vLLM has ended with code {self._process.returncode}. Its last lines:\n{lines}"

    def _end_guard(self) -> None:
        assert self._guard.stdin is not None
        self._guard.kill()  # first: it acts once its input is closed
        self._guard.wait()
        self._guard.stdin.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _copy_output(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.append(line.rstrip())
                log.info("vLLM: %s", line.rstrip())


def command(files: ModelFiles, settings: VllmSettings, port: int) -> Sequence[str]:
    """The command line of the child. The operator's arguments are last and win."""
    revision = ("--revision", files.revision) if files.revision else ()
    return (
        *(settings.vllm_command, "serve", files.source),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--served-model-name", files.name),
        *revision,
        "--enable-scale-out",
        "--enable-prompt-tokens-details",
        "--disable-uvicorn-access-log",  # this server's log has a line for each request
        *("--generation-config", "vllm"),  # the defaults of the model are applied here
        *("--logprobs-mode", "raw_logprobs", "--max-logprobs", str(MAX_LOGPROBS)),
        *("--structured-outputs-config", '{"backend": "guidance"}'),
        *("--max-num-seqs", str(settings.vllm_max_sequences)),
        *settings.vllm_args,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
