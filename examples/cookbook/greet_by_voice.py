"""Let a voice agent greet its user.

An agent is registered once and costs nothing; its instance joins a room, and is deleted at the end of the block.
"""

import asyncio

from zego_aigc import Client
from zego_aigc.aiagent import LLM, RTC, TTS, RegisterAgent

GUIDE = RegisterAgent(
    agent_id="guide",
    name="Guide",
    llm=LLM.zego_test("qwen", system_prompt="You show visitors around a museum. Be brief."),
    tts=TTS.minimax(api_key="zego_test", voice_id="female-shaonv"),
)


async def main() -> None:
    async with Client.from_env() as client:
        await client.ensure_agent(GUIDE)
        async with client.agent(agent_id="guide", user_id="visitor", rtc=RTC.for_user("visitor")) as agent:
            await agent.say("Welcome to the museum!")
            print("agent", agent.id, "is", (await agent.status()).status)


asyncio.run(main())
