"""For modules whose tests run in more than one way: they import the fixtures, and pytest finds them there.

:func:`anyio_backend`: on asyncio's own event loop and on uvloop. :func:`way_of_sending`: past aiohttp's session and through it.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

__all__ = ["anyio_backend", "way_of_sending"]


@pytest.fixture(params=["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(autouse=True, params=["past the session", "through the session"])
def way_of_sending(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How requests are sent: all that holds with :mod:`zego_aigc.transport.fastpath` holds without it."""
    way: str = request.param
    if way == "through the session":
        monkeypatch.setenv("ZEGO_AIGC_NO_FASTPATH", "1")
    return way
