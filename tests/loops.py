"""For modules whose tests run on asyncio's own event loop and on uvloop as well: they import :func:`anyio_backend`."""

from __future__ import annotations

import sys
from typing import Any

import pytest

__all__ = ["anyio_backend"]


@pytest.fixture(params=["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}
