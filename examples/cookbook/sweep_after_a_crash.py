"""End what a killed process left behind.

Every process notes what it makes in a registry. `live()` shows what is noted, and `sweep()` ends what dead ones had; clients
with a registry do so by themselves from time to time. Here the program starts itself once more, as the process that dies.
"""

import asyncio
import os
import sys
import uuid

from zego_aigc import Client, SQLiteRegistry
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, DigitalHumanConfig, RTCConfig


def client_with_registry() -> Client:
    # Whoever has shown no sign of life for so many seconds is dead: 15 unless given.
    return Client.from_env(registry=SQLiteRegistry("live.db", lease=1))


async def crash() -> None:
    async with client_with_registry() as client:
        human = await anext(client.list_digital_humans())
        create = CreateDigitalHumanStreamTask(
            digital_human_config=DigitalHumanConfig(digital_human_id=human.digital_human_id),
            rtc_config=RTCConfig(room_id="hall", stream_id=f"hall-{uuid.uuid4()}"),
        )
        await client.start(create)
        os._exit(1)  # at once, as a process that is killed: nothing is ended


async def sweep() -> None:
    await (await asyncio.create_subprocess_exec(sys.executable, __file__, "crash")).wait()
    async with client_with_registry() as client, asyncio.timeout(60):
        for record in await client.live():
            print("a dead process had:", record.action, record.instance_id, "in room", record.room_id)
        while await client.live():
            await client.sweep()
            await asyncio.sleep(0.1)
        print("it has been ended")


asyncio.run(crash() if sys.argv[1:] == ["crash"] else sweep())
