"""A limiter on a loop whose time is simulated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from simulated_time import SimulatedLoop

from zego_aigc.limits.local_limiter import LocalLimiter

__all__ = ["ACTION", "APP", "SPAN", "limiter", "loop"]

APP, ACTION = 1, "QueryAgents"
SPAN = 1.0 + 0.05 + 0.005  # window, guard and slack


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture
def limiter(loop: SimulatedLoop) -> LocalLimiter:
    return LocalLimiter(clock=loop.time)
