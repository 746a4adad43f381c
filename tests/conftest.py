"""What all tests share: asyncio as the backend of ``pytest.mark.anyio`` tests, and hypothesis without a stopwatch."""

from __future__ import annotations

import aiohttp
import hypothesis
import pytest

from zego_aigc.transport.body import TRIED

# The machines that run this are shared: how long an example takes says nothing about the code.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")


def pytest_report_header() -> str:
    """What a new version of aiohttp changes for the tests, so that somebody notices."""
    how = "tried" if TRIED else "not tried yet: own sessions send plain requests, see zego_aigc/_outgoing.py"
    return f"aiohttp: {aiohttp.__version__} ({how})"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
