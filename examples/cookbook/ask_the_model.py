"""Put a question to the model for the user, and read the conversation.

`add_messages` gives the model what your app knows, without anything being spoken.
"""

import asyncio

from zego_aigc import Client
from zego_aigc.aiagent import LLM, RTC, TTS, Message, RegisterAgent

GUIDE = RegisterAgent(
    agent_id="guide", llm=LLM.zego_test("qwen"), tts=TTS.minimax(api_key="zego_test", voice_id="female-shaonv")
)


async def main() -> None:
    async with Client.from_env() as client:
        await client.ensure_agent(GUIDE)
        async with client.agent(agent_id="guide", user_id="visitor", rtc=RTC.for_user("visitor")) as agent:
            await agent.add_messages([Message.user("I am seven years old."), Message.assistant("Then I tell it simply.")])
            await agent.ask("Where are the dinosaurs?")
            for message in await agent.messages():
                print(message.role, message.content)


asyncio.run(main())
