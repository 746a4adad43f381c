"""See what a run would do, and find what no journal knows.

A plan changes nothing. `find_unclaimed` lists agents and streams at the service that none of the journals made.
"""

import asyncio

from zego_aigc import Client, provision
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, DigitalHumanConfig, RTCConfig
from zego_aigc.provisioning import find_unclaimed

HALL = CreateDigitalHumanStreamTask(
    digital_human_config=DigitalHumanConfig(digital_human_id="0d3538a4-9e8e-4155-b1fb-c7defb8eeef8"),
    rtc_config=RTCConfig(room_id="hall", stream_id="hall-screen"),
)


async def main() -> None:
    async with Client.from_env() as client:
        plan = await provision(client, [HALL], journal="hall.journal").plan(live=True)
        print("to make:", plan.to_make, "in about", plan.seconds, "s")
        async for found in find_unclaimed(client):
            print("in no journal:", found)


asyncio.run(main())
