"""The example web app as several workers with Redis: killed in the middle, with callbacks replayed and forged meanwhile."""

from __future__ import annotations

import sys

import pytest
from redis_server import RedisServer

from benchmarks import conversations

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")]


async def test_workers_are_killed_and_nothing_is_lost_forged_or_left() -> None:
    with RedisServer() as server:
        verdict = await conversations.run(server.url, workers=3, conversations=24, kills=4, lease=3)
    assert verdict.good, verdict
    assert verdict.kills == 4
