"""Fall back to a voice when every digital human is in use.

The first block takes the account's only place, so the second conversation gets a voice.
"""

import asyncio

from zego_aigc import Client, LocalQuota
from zego_aigc.aiagent import (
    LLM,
    RTC,
    TTS,
    CreateAgentInstance,
    CreateDigitalHumanAgentInstance,
    DigitalHuman,
    RegisterAgent,
)

HOST = RegisterAgent(agent_id="host", llm=LLM.zego_test("qwen"), tts=TTS.minimax(api_key="zego_test", voice_id="female-shaonv"))


def with_a_face(user: str, face: str) -> CreateDigitalHumanAgentInstance:
    return CreateDigitalHumanAgentInstance(
        agent_id="host", user_id=user, rtc=RTC.for_user(user), digital_human=DigitalHuman(digital_human_id=face)
    )


def by_voice(user: str) -> CreateAgentInstance:
    return CreateAgentInstance(agent_id="host", user_id=user, rtc=RTC.for_user(user))


async def main() -> None:
    async with Client.from_env(quota=LocalQuota(digital_humans=1)) as client:
        await client.ensure_agent(HOST)
        face = (await anext(client.list_digital_humans())).digital_human_id
        for user in ("alice", "bob"):
            agent = await client.start(with_a_face(user, face), fallback=by_voice(user))
            print(user, "hears a voice" if agent.fell_back else "sees a face")


asyncio.run(main())  # closing the client ends both
