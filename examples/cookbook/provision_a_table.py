"""Bring up a stream for each row of a table, and take all of them down again.

The same command goes on where a killed one stopped: the journal knows what was made.
"""

import asyncio
import csv
import io
from collections.abc import Iterator

from zego_aigc import Client, Entry, provision, teardown
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, DigitalHumanConfig, RTCConfig

TABLE = """\
room,face
entrance,0d3538a4-9e8e-4155-b1fb-c7defb8eeef8
cafe,0d3538a4-9e8e-4155-b1fb-c7defb8eeef8
"""


def entries() -> Iterator[Entry]:
    for row in csv.DictReader(io.StringIO(TABLE)):
        create = CreateDigitalHumanStreamTask(
            digital_human_config=DigitalHumanConfig(digital_human_id=row["face"]),
            rtc_config=RTCConfig(room_id=row["room"], stream_id=f"{row['room']}-screen"),
        )
        yield Entry(create, key=row["room"])


async def main() -> None:
    async with Client.from_env() as client:
        async with provision(client, entries(), journal="museum.journal") as run:
            async for outcome in run:
                print(outcome.key, outcome.status, outcome.error or "")
        async with teardown(client, "museum.journal") as run:
            async for outcome in run:
                outcome.unwrap()


asyncio.run(main())
