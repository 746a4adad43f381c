"""A sandbox without a rate limit whose clock stands, and a client of it that owes nothing to the library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from vendor_client import VendorClient

from zego_aigc.sandbox import Pace, Sandbox

__all__ = ["NOW", "eventually", "in_real_time", "sandbox", "vendor"]

NOW = 1_800_000_000.0
"""Where a clock stands that only the test moves: what falls due meanwhile does not depend on how long its calls take."""

in_real_time = pytest.mark.parametrize("sandbox", [None], ids=["clock goes"], indirect=True)
"""For a test that is about a clock that goes by itself."""


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for what comes over a socket; a minute is for a machine that hangs."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nothing tells of it but the condition
            await asyncio.sleep(0.002)


@pytest.fixture
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    async with Sandbox(time=getattr(request, "param", NOW), rate_limit=None, pace=Pace(think=1, character=0.1)) as running:
        yield running


@pytest.fixture
async def vendor(sandbox: Sandbox) -> AsyncIterator[VendorClient]:
    async with aiohttp.ClientSession() as session:
        yield VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
