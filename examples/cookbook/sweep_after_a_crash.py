"""End what a killed process left behind.

Every process notes what it makes in a registry. `live()` shows what is noted, and `sweep()` ends what dead ones had; clients
with a registry do so by themselves from time to time.
"""

import asyncio
import uuid

from zego_aigc import Client, SQLiteRegistry
from zego_aigc.digitalhuman import DigitalHumanConfig, RTCConfig


async def main() -> None:
    async with Client.from_env(registry=SQLiteRegistry("live.db")) as client:
        human = await anext(client.list_digital_humans())
        async with client.stream_task(
            digital_human_config=DigitalHumanConfig(digital_human_id=human.digital_human_id),
            rtc_config=RTCConfig(room_id="hall", stream_id=f"hall-{uuid.uuid4()}"),
        ):
            for record in await client.live():
                print("lives:", record.action, record.instance_id, record.room_id)
        print("swept:", await client.sweep())


asyncio.run(main())
