"""Begin a conversation in one request and end it in another.

What `start()` makes lives until `end()`, or until the client closes. Any process that knows the id can end it.
"""

import asyncio

from zego_aigc import Client
from zego_aigc.aiagent import LLM, RTC, TTS, CreateAgentInstance, RegisterAgent

GUIDE = RegisterAgent(
    agent_id="guide", llm=LLM.zego_test("qwen"), tts=TTS.minimax(api_key="zego_test", voice_id="female-shaonv")
)


async def begin(client: Client, user: str) -> str:
    agent = await client.start(CreateAgentInstance(agent_id="guide", user_id=user, rtc=RTC.for_user(user)))
    print("begun:", agent.id)
    return agent.id


async def hang_up(client: Client, instance_id: str) -> None:
    await client.attach(instance_id).end()
    print("ended:", instance_id)


async def main() -> None:
    async with Client.from_env() as client:
        await client.ensure_agent(GUIDE)
        instance_id = await begin(client, "visitor")
        await client.attach(instance_id).say("Good to hear from you!")
        await hang_up(client, instance_id)


asyncio.run(main())
