"""Change the voice of an agent while it talks.

TTS, LLM and ASR are replaced whole; what is not given stays as it is.
"""

import asyncio

from zego_aigc import Client
from zego_aigc.aiagent import LLM, RTC, TTS, RegisterAgent

GUIDE = RegisterAgent(
    agent_id="guide", llm=LLM.zego_test("qwen"), tts=TTS.minimax(api_key="zego_test", voice_id="female-shaonv")
)


async def main() -> None:
    async with Client.from_env() as client:
        await client.ensure_agent(GUIDE)
        async with client.agent(agent_id="guide", user_id="visitor", rtc=RTC.for_user("visitor")) as agent:
            first = await agent.say("This is one voice,", priority="High")
            await agent.update(tts=TTS.minimax(api_key="zego_test", voice_id="male-qn-qingse"))
            second = await agent.say("and this is another.", priority="High")
            print(f"turn {first.round} is in the voice female-shaonv, turn {second.round} in male-qn-qingse")


asyncio.run(main())
