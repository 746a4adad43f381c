"""Make many calls at once, and stay within ten a second.

Each call waits for its turn; those of `background=True` let people's calls go first.
"""

import asyncio

from zego_aigc import Client
from zego_aigc.aiagent import QueryAgents
from zego_aigc.digitalhuman import QueryDigitalHumanStreamTasks


async def main() -> None:
    async with Client.from_env() as client, asyncio.TaskGroup() as group:
        for n in range(5):
            group.create_task(client.call(QueryAgents(agent_ids=[f"agent-{n}"]), background=True, deadline_from="grant"))
        tasks = await client.call(QueryDigitalHumanStreamTasks())
        print(len(tasks.task_list), "streams run")


asyncio.run(main())
