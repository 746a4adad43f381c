"""Have a stream's digital human say a text.

Texts are spoken one after the other. `DriveInterruptMode.INTERRUPT` cuts in instead.
"""

import asyncio
import uuid

from zego_aigc import Client
from zego_aigc.digitalhuman import DigitalHumanConfig, DriveInterruptMode, RTCConfig, TTSConfig


async def main() -> None:
    async with Client.from_env() as client:
        human = await anext(client.list_digital_humans())
        voice = TTSConfig(timbre_id=(await anext(client.list_timbres())).timbre_id)
        async with client.stream_task(
            digital_human_config=DigitalHumanConfig(digital_human_id=human.digital_human_id),
            rtc_config=RTCConfig(room_id="hall", stream_id=f"hall-{uuid.uuid4()}"),
            ttl=600,  # seconds: it ends by itself then, whatever becomes of this process
        ) as task:
            await task.streaming()
            await task.drive_text("The next tour begins in ten minutes.", voice)
            await asyncio.sleep(1)
            await task.drive_text("The museum closes now.", voice, interrupt_mode=DriveInterruptMode.INTERRUPT)
            print(human.name, "was interrupted after a second, and says that the museum closes")
            await asyncio.sleep(3)  # the task ends with its block: let it speak


asyncio.run(main())
