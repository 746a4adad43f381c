"""Workers of a web app that are killed at random leave nothing behind, and end nothing that another one has."""

from __future__ import annotations

import pytest
from redis_server import RedisServer

from benchmarks import killed_workers

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_workers_that_share_a_file() -> None:
    verdict = await killed_workers.run(6.0, lease=5.0)
    assert verdict.good, verdict


async def test_workers_that_share_a_redis() -> None:
    with RedisServer() as server:
        verdict = await killed_workers.run(6.0, redis=server.url, lease=5.0)
    assert verdict.good, verdict
