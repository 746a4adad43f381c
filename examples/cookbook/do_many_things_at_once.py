"""Make many calls at once, and stay within ten a second.

Each call waits for its turn; those of `background=True` let people's calls go first.
"""

import asyncio
import time

from zego_aigc import Client
from zego_aigc.aiagent import QueryAgents

CALLS = 12


async def main() -> None:
    async with Client.from_env() as client:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for n in range(CALLS):
                query = QueryAgents(agent_ids=[f"agent-{n}"])
                group.create_task(client.call(query, background=True, deadline_from="grant"))
            await client.call(QueryAgents(agent_ids=["somebody-waits"]))
            print(f"the call for which somebody waits was answered after {time.monotonic() - began:.2f} s,")
        print(f"and all {CALLS} in the background after {time.monotonic() - began:.2f} s")


asyncio.run(main())
