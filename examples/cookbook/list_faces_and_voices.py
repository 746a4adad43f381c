"""List digital humans and the voices that they can speak with.

Lists page themselves: `async for` asks for the next page when it is needed.
"""

import asyncio

from zego_aigc import Client


async def main() -> None:
    async with Client.from_env() as client:
        async for human in client.list_digital_humans():
            own = [voice.name async for voice in client.list_timbres(human.digital_human_id)]
            print(human.digital_human_id, human.name, "has voices of its own:" if own else "takes any public voice", *own)


asyncio.run(main())
