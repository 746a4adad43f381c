"""The page about a web app: its app passes its tests, in files of their own as a reader has them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "web-app.md").read_text(encoding="utf-8")
FILES = {"socket": "talk_socket"}
"""Names that a module of Python's own has."""

TEST_SOCKET = """
import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from talk_socket import app
from zego_aigc.aiagent import SendAgentInstanceTTS


def test_an_agent_ends_with_its_socket_and_each_visitor_has_one(zego_live_sandbox, monkeypatch):
    for name, value in zego_live_sandbox.env.items():
        monkeypatch.setenv(name, value)
    with TestClient(app) as browser:
        for _ in range(2):
            with browser.websocket_connect("/talk?visitor=ann") as socket:
                assert socket.receive_json()["id"] in zego_live_sandbox.call(lambda sandbox: list(sandbox.app.instances))
                zego_live_sandbox.advance(1)
                socket.send_text("Hello!")
                for visitor in ("ann", "b%20b"):
                    with browser.websocket_connect(f"/talk?visitor={visitor}") as other:
                        with pytest.raises(WebSocketDisconnect) as closed:
                            other.receive_json()
                    assert closed.value.code == 1008
            assert zego_live_sandbox.call(lambda sandbox: list(sandbox.app.instances)) == []
    assert [call.text for call in zego_live_sandbox.received(SendAgentInstanceTTS)] == ["Hello!", "Hello!"]
"""


@pytest.mark.slow
def test_the_pages_app_passes_the_pages_tests(tmp_path: Path) -> None:
    programs = re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _ in programs] == ["app", "test_app", "socket"]
    for name, source in [*programs, ("test_socket", TEST_SOCKET)]:
        (tmp_path / f"{FILES.get(name, name)}.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
