"""See what a run would do, and find what no journal knows.

A plan changes nothing. `find_unclaimed` lists agents and streams at the service that none of the journals made.
"""

import asyncio

from zego_aigc import Client, provision
from zego_aigc.aiagent import LLM, TTS, RegisterAgent
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, DigitalHumanConfig, RTCConfig
from zego_aigc.provisioning import find_unclaimed

GUIDE = RegisterAgent(
    agent_id="guide", llm=LLM.zego_test("qwen"), tts=TTS.minimax(api_key="zego_test", voice_id="female-shaonv")
)
HALL = CreateDigitalHumanStreamTask(
    digital_human_config=DigitalHumanConfig(digital_human_id="0d3538a4-9e8e-4155-b1fb-c7defb8eeef8"),
    rtc_config=RTCConfig(room_id="hall", stream_id="hall-screen"),
)


async def main() -> None:
    async with Client.from_env() as client:
        await client.ensure_agent(GUIDE)  # by hand, and so in no journal
        plan = await provision(client, [HALL], journal="hall.journal").plan(live=True)
        for action, keys in plan.to_make.items():
            print(f"to make: {len(keys)} by {action}, in about {plan.seconds:.1f} s")
        async for found in find_unclaimed(client):
            print("in no journal:", found.id, "made by", found.action)


asyncio.run(main())
