"""The callbacks page: its programs run, and it names every event and every error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from callback_requests import SECRET, asgi_request, body_of

from zego_aigc import callbacks

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parent.parent / "docs" / "callbacks.md").read_text()


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run an example of the docs page and return its names."""
    monkeypatch.setenv("ZEGO_CALLBACK_SECRET", SECRET)
    found = re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(found[1], f"callbacks.md:{name}", "exec", dont_inherit=True), names)
    return names


async def test_the_pages_aiohttp_example_works(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    app = example("aiohttp", monkeypatch)["app"]
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    body = body_of(Event=None, EventType=3, TaskId="t1", Detail={"Status": 2, "FailReason": "no such stream"})
    async with aiohttp.ClientSession() as session, session.post(f"http://{host}:{port}/callbacks", data=body) as answer:
        assert answer.status == 200
    await runner.cleanup()
    assert capsys.readouterr().out == "stream task t1 failed: no such stream\n"


async def test_the_pages_fastapi_example_works(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    app = example("asgi", monkeypatch)["app"]
    async with app.router.lifespan_context(app):
        body = body_of(Event="ASRResult", Data={"UserId": "u1", "Round": 1, "Text": "good morning"})
        assert await asgi_request(app, body, path="/callbacks") == (200, "ok")
    assert capsys.readouterr().out == "u1 said: good morning\n"


def test_the_pages_plain_example_works(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    handle = example("parse", monkeypatch)["handle"]
    assert handle(body_of(Event="Interrupted", Data={"Round": 1, "Reason": 1, "PlayedText": "once upon"})) == 200
    assert handle(body_of(Event="Newer", Data={"A": 1})) == 200
    assert handle(body_of(secret="another")) == 403
    assert capsys.readouterr().out.startswith("cut after: once upon\nsomething new: Newer {'A': 1}\nrefused: ")


def test_the_page_names_every_event_and_every_error() -> None:
    for kind in callbacks.EVENTS.values():
        assert f"| `{kind.__name__}` |" in PAGE
    for name in ("MalformedCallback", "BadSignature", "StaleCallback", "ReplayedCallback"):
        assert f"| `{name}` |" in PAGE
