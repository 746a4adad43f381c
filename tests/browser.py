"""A headless Chromium, driven over its DevTools protocol; skips where there is none."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

__all__ = ["Page", "browser_page"]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]


class Page:
    """A tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._count = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.problems: list[str] = []
        """Uncaught errors and failed requests of the page."""
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            data = json.loads(message.data)
            if data.get("method") == "Runtime.exceptionThrown":
                self.problems.append(str(data["params"]["exceptionDetails"].get("exception", {}).get("description")))
            elif data.get("method") == "Log.entryAdded" and data["params"]["entry"]["level"] == "error":
                self.problems.append(data["params"]["entry"]["text"])
            elif data.get("id") in self._answers:
                self._answers.pop(data["id"]).set_result(data)

    async def do(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol."""
        self._count += 1
        answer = self._answers[self._count] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._count, "method": method, "params": params})
        async with asyncio.timeout(30):
            data = await answer
        assert "error" not in data, data
        result: dict[str, Any] = data["result"]
        return result

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        result = await self.do("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, script: str, within: float = 30) -> None:
        """Wait until an expression in the page is true."""
        try:
            async with asyncio.timeout(within):
                while not await self.run(script):  # noqa: ASYNC110 - it is in another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never true: {script}; the page shows: {await self.run('document.body.innerText')}") from None

    async def open(self, url: str, *, width: int, height: int, mobile: bool = False) -> None:
        """Show an address in a window of a size."""
        for domain in ("Page", "Runtime", "Log"):
            await self.do(f"{domain}.enable")
        await self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        await self.do("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def screenshot(self) -> bytes:
        """What the window shows, as a PNG."""
        return base64.b64decode((await self.do("Page.captureScreenshot", format="png"))["data"])


@contextlib.asynccontextmanager
async def browser_page(folder: Path) -> AsyncIterator[Page]:
    """A tab in a browser of its own, whose profile is in `folder`."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium")
    profile = folder / "profile"
    running = await asyncio.create_subprocess_exec(
        program,
        *FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while not (port_file := profile / "DevToolsActivePort").exists():
                assert running.returncode is None, "Chromium has ended"
                await asyncio.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                (tab,) = [each for each in await answer.json(content_type=None) if each["type"] == "page"]
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        if running.returncode is None:
            running.terminate()
            await running.wait()
