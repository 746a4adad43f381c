"""Find out what a lost answer has left behind.

The fault makes the sandbox do the work and cut the connection. The client asks what was made, and the call succeeds.
"""

import asyncio
import uuid

from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, DigitalHumanConfig, RTCConfig
from zego_aigc.sandbox import Sandbox


async def main() -> None:
    async with Sandbox() as sandbox, sandbox.client() as client:
        human = await anext(client.list_digital_humans())
        sandbox.faults.on(CreateDigitalHumanStreamTask).times(1).cut_after_work()
        async with client.stream_task(
            digital_human_config=DigitalHumanConfig(digital_human_id=human.digital_human_id),
            rtc_config=RTCConfig(room_id="hall", stream_id=f"hall-{uuid.uuid4()}"),
        ) as task:
            print("found:", task.id, "after", len(sandbox.received(CreateDigitalHumanStreamTask)), "request to make it")


asyncio.run(main())
