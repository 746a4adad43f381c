"""Take README.md's pictures anew: ``python docs/generate_pictures.py``. The page needs chromium and chromedriver."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import MONOKAI
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from zego_aigc import Client, provision
from zego_aigc.cli._live import LiveDisplay
from zego_aigc.provisioning import Fleet
from zego_aigc.sandbox import Sandbox

HERE = Path(__file__).parent
FLEET = HERE.parent / "examples" / "fleet.toml"
MOMENT = 3.4
"""Seconds into the run at which the pictures are taken."""
WIDTH = 88

SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-family: ui-sans-serif, "DejaVu Sans", sans-serif; font-size: 18px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""As rich has it, without fonts from elsewhere."""


async def main() -> None:
    """Provision the example fleet, and look at it on the way."""
    console = Console(record=True, width=WIDTH, file=Path(os.devnull).open("w", encoding="utf-8"), force_terminal=True)  # noqa: ASYNC230, SIM115 - it is never written
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox(quota=100) as sandbox, sandbox.client() as client:
            await draw(client, Path(folder) / "fleet.journal", console, sandbox.page_url)


async def draw(client: Client, journal: Path, console: Console, page: str) -> None:
    """The live display and the page as they are at the moment; then the run stops."""
    display = LiveDisplay("Provisioning examples/fleet.toml", "a sandbox inside this command", console=console)
    async with browser(page) as photograph, provision(client, Fleet(FLEET), journal=journal) as run:
        await asyncio.sleep(MOMENT)
        display.progress(run.progress)
        await photograph(HERE / "sandbox.png")
    console.print("[bold]Provisioning examples/fleet.toml[/]  [dim]a sandbox inside this command[/]")
    console.print(display.render())
    console.save_svg(
        str(HERE / "provision.svg"),
        title="zego-aigc provision examples/fleet.toml --sandbox --quota 100",
        theme=MONOKAI,
        code_format=SVG,
        unique_id="provision",
    )


@asynccontextmanager
async def browser(url: str) -> AsyncGenerator[Callable[[Path], Awaitable[object]], None]:
    """The sandbox's page, watched from now on in headless Chromium; what is yielded takes a picture of it."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for option in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars", "window-size=1200,700"):
        options.add_argument(f"--{option}")
    # In threads, since the page is served by this event loop.
    chrome: Any = await asyncio.to_thread(
        webdriver.Chrome, options=options, service=Service(shutil.which("chromedriver") or "")
    )
    try:
        await asyncio.to_thread(chrome.get, url)
        yield lambda target: asyncio.to_thread(chrome.save_screenshot, str(target))
    finally:
        await asyncio.to_thread(chrome.quit)


if __name__ == "__main__":
    asyncio.run(main())
