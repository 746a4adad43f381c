"""Have a stream's digital human speak audio that you make.

Anything that yields 16-bit PCM will do; here it is a second of a tone.
"""

import asyncio
import math
import struct
import uuid

from zego_aigc import Client
from zego_aigc.digitalhuman import DigitalHumanConfig, RTCConfig

RATE = 16000  # samples a second


def tone(hertz: int) -> bytes:
    samples = (round(8000 * math.sin(2 * math.pi * hertz * n / RATE)) for n in range(RATE))
    return b"".join(struct.pack("<h", sample) for sample in samples)


async def main() -> None:
    async with Client.from_env() as client:
        human = await anext(client.list_digital_humans())
        async with client.stream_task(
            digital_human_config=DigitalHumanConfig(digital_human_id=human.digital_human_id),
            rtc_config=RTCConfig(room_id="hall", stream_id=f"hall-{uuid.uuid4()}"),
        ) as task:
            await task.streaming()
            async with task.open_audio(sample_rate=RATE) as audio:
                await audio.write(tone(440))
            print(human.name, "was sent", audio.seconds, "seconds of audio")
            await asyncio.sleep(2)  # the task ends with its block: let it be spoken


asyncio.run(main())
