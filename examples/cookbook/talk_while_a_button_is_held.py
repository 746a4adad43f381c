"""Let the user talk while a button is held.

The agent listens from `start_listening` to `stop_listening`. Sequence numbers grow over both, so that late calls are dropped.
"""

import asyncio
import itertools

from zego_aigc import Client
from zego_aigc.aiagent import LLM, RTC, TTS, AdvancedConfig, CommunicationMode, RegisterAgent

GUIDE = RegisterAgent(
    agent_id="guide", llm=LLM.zego_test("qwen"), tts=TTS.minimax(api_key="zego_test", voice_id="female-shaonv")
)


async def main() -> None:
    numbers = itertools.count(1)
    async with Client.from_env() as client:
        await client.ensure_agent(GUIDE)
        async with client.agent(
            agent_id="guide",
            user_id="visitor",
            rtc=RTC.for_user("visitor"),
            advanced_config=AdvancedConfig(communication_mode=CommunicationMode.WALKIE_TALKIE),
        ) as agent:
            await asyncio.sleep(0.1)  # an app waits for agent.joined(), which its callbacks report
            print("round", (await agent.start_listening(sequence=next(numbers))).round)
            await agent.stop_listening(sequence=next(numbers))


asyncio.run(main())
