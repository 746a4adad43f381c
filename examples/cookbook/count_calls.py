"""Count calls, failures and waiting, without a metrics library.

`on_result` is called after each call, `on_attempt` after each request. `zego_aigc.otel` makes OpenTelemetry spans and metrics
of the same.
"""

import asyncio
from collections import Counter

from zego_aigc import Client
from zego_aigc.aiagent import ListAgents
from zego_aigc.client import CallEvent

calls: Counter[tuple[str, str]] = Counter()


def on_result(call: CallEvent) -> None:
    calls[call.action, type(call.error).__name__ if call.error else "ok"] += 1


async def main() -> None:
    async with Client.from_env(on_result=on_result) as client:
        await client.call(ListAgents(limit=10))
        stats = client.pool.limiter.stats(client.app_id, "ListAgents")
        for (action, how), number in calls.items():
            print(f"{action}: {number} {how}")
        print(f"ListAgents: {stats.sent} sent, {stats.share:.0%} of the limit used, {stats.waiting} wait")


asyncio.run(main())
