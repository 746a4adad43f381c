"""Use fields and Actions that are newer than the library.

A field goes into `extra`, at any level. A whole Action goes through `call_raw`, unchecked: say how a lost answer may be
handled.
"""

import asyncio

from zego_aigc import Client, Repeat
from zego_aigc.aiagent import LLM, RegisterAgent


async def main() -> None:
    agent = RegisterAgent(agent_id="guide", llm=LLM.zego_test("qwen"), extra={"NewField": {"Level": 2}})
    print(agent.to_wire())
    async with Client.from_env() as client:
        print(await client.call_raw("ListAgents", {"Limit": 10}, repeat=Repeat.READS))


asyncio.run(main())
