"""What all tests share: asyncio as the backend of ``pytest.mark.anyio`` tests, and hypothesis without a stopwatch."""

from __future__ import annotations

import gc
import os
import signal
import sys

import aiohttp
import hypothesis
import pytest
import requirements

from zego_aigc.transport.pool import SessionPool

# The tests start some two hundred processes. Without bytecode each compiles all that it imports, and so does every worker.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The machines that run this are shared: how long an example takes says nothing about the code.
# In CI the examples are always the same ones: what fails there fails for the change that it tests.
hypothesis.settings.register_profile(
    "shared machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
hypothesis.settings.load_profile("shared machine")


# What this starts would not be ended by a terminal that goes away where it runs under nohup, nor by Ctrl-C where it runs in the
# background of a script: both are tested.
for name, default in (("SIGHUP", signal.SIG_DFL), ("SIGINT", signal.default_int_handler)):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, name), default)


def pytest_report_header() -> list[str]:
    """What differs from machine to machine, so that somebody notices."""
    how = (
        "past aiohttp's session"
        if SessionPool().past_session
        else "through aiohttp's session, see zego_aigc/transport/fastpath.py"
    )
    found = {name: requirements.find(name) or "absent" for name in requirements.PROGRAMS}
    return [f"aiohttp: {aiohttp.__version__} ({how})", f"programs: {', '.join(map(': '.join, found.items()))}"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for real time goes first: the many that take milliseconds then fill what the workers have left."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """What the tests and their libraries are made of stays: no garbage collection need look at it again."""
    gc.collect()
    gc.freeze()
