"""Give an agent a face.

The client SDK of your app shows the digital human: hand it the room, the stream, and the encoded config of the result.
"""

import asyncio

from zego_aigc import Client
from zego_aigc.aiagent import LLM, RTC, TTS, DigitalHuman, RegisterAgent

HOST = RegisterAgent(
    agent_id="host",
    name="Host",
    llm=LLM.zego_test("qwen"),
    tts=TTS.minimax(api_key="zego_test", voice_id="female-shaonv"),
)


async def main() -> None:
    async with Client.from_env() as client:
        await client.ensure_agent(HOST)
        face = await anext(client.list_digital_humans())
        rtc = RTC.for_user("visitor")
        async with client.digital_human_agent(
            agent_id="host",
            user_id="visitor",
            rtc=rtc,
            digital_human=DigitalHuman(digital_human_id=face.digital_human_id),
        ) as agent:
            print("for the client SDK:", rtc.room_id, rtc.agent_stream_id, agent.created.digital_human_config)
            await agent.say("Welcome!")


asyncio.run(main())
