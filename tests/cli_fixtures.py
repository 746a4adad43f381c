"""The command line in a directory of one's own, with no account, and sandboxes that it may call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

__all__ = ["PROGRAM", "alone", "lines", "order", "sandbox", "state", "task", "voice", "write"]

PROGRAM = [sys.executable, "-m", "zego_aigc"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No account in the environment, and a directory of one's own."""
    for name in [name for name in os.environ if name.startswith("ZEGO_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, alone: None) -> Iterator[str]:
    """A sandbox in a process of its own, which the environment leads to."""
    process = subprocess.Popen([*PROGRAM, "sandbox", "--quota", "100"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        ready, _, url = process.stdout.readline().strip().partition(" ")
        assert ready == "READY"
        for _ in range(5):
            name, _, value = process.stdout.readline().strip().removeprefix("export ").partition("=")
            monkeypatch.setenv(name, value)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def state(url: str) -> dict[str, list[Any]]:
    with urlopen(f"{url}/_sandbox/state") as answer:
        found: dict[str, list[Any]] = json.load(answer)
        return found


def order(url: str, name: str, **body: Any) -> None:
    urlopen(Request(f"{url}/_sandbox/{name}", json.dumps(body).encode(), {"Content-Type": "application/json"})).close()


def write(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return path


def task(name: str, **fields: Any) -> dict[str, Any]:
    body = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": f"r-{name}", "StreamId": name}}
    return {"Action": "CreateDigitalHumanStreamTask", "Body": body | fields}


def voice(name: str, agent: str = "a") -> dict[str, Any]:
    rtc = {"RoomId": f"r-{name}", "AgentStreamId": f"s-{name}", "AgentUserId": f"b-{name}", "UserStreamId": f"u-{name}"}
    return {"Action": "CreateAgentInstance", "Body": {"AgentId": agent, "UserId": f"v-{name}", "RTC": rtc}}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
