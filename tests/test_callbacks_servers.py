"""The router under the servers and in the frameworks that people use, each as its own process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from callback_requests import SECRET, body_of

from benchmarks.ports import reserved_port

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="these servers are stopped by signals"),
]

ROUTER = f"""
    import asyncio, os
    from zego_aigc.callbacks import CallbackRouter, LLMResult

    router = CallbackRouter(secret={SECRET!r}, reorder_wait=0)

    @router.on(LLMResult)
    async def keep(event: LLMResult) -> None:
        await asyncio.sleep(0.2)  # still at work when the server is asked to stop
        with open(os.environ["KEPT"], "a") as file:
            file.write(event.data.text + "\\n")

    app = router.asgi
"""

STARLETTE = (
    ROUTER
    + """
    from starlette.applications import Starlette
    from starlette.routing import Route

    app = Starlette(routes=[Route("/callbacks", router.asgi)], lifespan=router.lifespan)
"""
)

FASTAPI = (
    ROUTER
    + """
    from fastapi import FastAPI

    app = FastAPI(lifespan=router.lifespan)
    app.add_route("/callbacks", router.asgi)
"""
)

PAGE = (Path(__file__).parent.parent / "docs" / "callbacks.md").read_text()


def on_the_page(name: str) -> str:
    """A program of the docs page."""
    found = re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


DJANGO = (
    textwrap.dedent(ROUTER)
    + """
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"])
urlpatterns = [path("", lambda request: HttpResponse("the site"))]
"""
    + on_the_page("django")
)

FLASK = (
    textwrap.dedent(ROUTER)
    + """
import signal, sys
from flask import Flask, request
from werkzeug.serving import make_server

app = Flask(__name__)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

@app.get("/callbacks")
def lives():
    return "callbacks are posted here"
"""
    + on_the_page("flask").replace("8080", "int(sys.argv[1])")
)

UVICORN = ["uvicorn", "--port", "{port}", "--log-level", "warning"]
SERVERS: dict[str, tuple[str, list[str]]] = {
    "uvicorn": (ROUTER, [*UVICORN, "served:router.asgi"]),
    "hypercorn": (ROUTER, ["hypercorn", "--bind", "127.0.0.1:{port}", "served:router.asgi"]),
    "granian": (ROUTER, ["granian", "--interface", "asgi", "--port", "{port}", "served:router.asgi"]),
    "gunicorn": (ROUTER, ["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}", "served:app"]),
    "starlette": (STARLETTE, [*UVICORN, "served:app"]),
    "fastapi": (FASTAPI, [*UVICORN, "served:app"]),
    "django": (DJANGO, [*UVICORN, "served:application"]),
}


@contextlib.asynccontextmanager
async def process(folder: Path, source: str, command: list[str]) -> AsyncIterator[tuple[str, Path]]:
    """A server that runs, and where its handler writes; it is asked to stop at the end, and must do so well."""
    (folder / "served.py").write_text(textwrap.dedent(source))
    kept = folder / "kept.txt"
    kept.touch()
    port = reserved_port()
    log = folder / "log.txt"
    with log.open("w") as output:
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *(part.format(port=port) for part in command),
            cwd=folder,
            env={**os.environ, "KEPT": str(kept), "PYTHONPATH": str(folder)},
            stdout=output,
            stderr=output,
        )
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                assert running.returncode is None, log.read_text()
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{port}/callbacks") as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}", kept
        running.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            code = await running.wait()
        assert code in {0, -signal.SIGTERM}, log.read_text()  # uvicorn ends by the signal that it was sent
        assert "Traceback" not in log.read_text()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


@pytest.mark.parametrize("server", SERVERS)
async def test_callbacks_are_taken_and_what_is_in_hand_is_handled_before_the_server_ends(server: str, tmp_path: Path) -> None:
    source, command = SERVERS[server]
    async with process(tmp_path, source, command) as (url, kept), aiohttp.ClientSession() as session:
        async with session.post(f"{url}/callbacks", data=body_of("under a real server")) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
        async with session.post(f"{url}/callbacks", data=body_of(secret="guess")) as answer:
            assert answer.status == 403
        async with session.head(f"{url}/callbacks") as answer:
            assert answer.status == 200
        async with session.put(f"{url}/callbacks", data=b"x") as answer:
            assert answer.status == 405
        if server == "django":
            async with session.get(f"{url}/") as answer:
                assert await answer.text() == "the site"
    assert kept.read_text() == "under a real server\n"


async def test_in_flask_the_router_runs_on_a_loop_of_its_own(tmp_path: Path) -> None:
    async with process(tmp_path, FLASK, ["served", "{port}"]) as (url, kept), aiohttp.ClientSession() as session:
        async with session.post(f"{url}/callbacks", data=body_of("from a thread")) as answer:
            assert answer.status == 200
        async with session.post(f"{url}/callbacks", data=body_of(secret="guess")) as answer:
            assert answer.status == 403
    assert kept.read_text() == "from a thread\n"
