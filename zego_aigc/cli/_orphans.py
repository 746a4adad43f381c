"""``zego-aigc orphans``."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence

from zego_aigc.cli._ask import confirm
from zego_aigc.cli._environment import client_from_options
from zego_aigc.cli._output import print_error, print_json, print_text
from zego_aigc.client import Client
from zego_aigc.errors import ZegoError
from zego_aigc.provisioning.unclaimed import Unclaimed, end, find_unclaimed

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print what lives at the service and stands in no journal; with --stop, end it after a question."""
    return asyncio.run(_orphans(options))


async def _orphans(options: argparse.Namespace) -> int:
    async with client_from_options(options) as client:
        found = [one async for one in find_unclaimed(client, options.journals)]
        for one in found:
            _print(one, as_json=options.json)
        print_error("(agent instances are not among them: the service lists none)")
        if not found:
            print_error("there is nothing that no journal knows" if options.journals else "there is nothing")
            return 0
        if not options.stop:
            return 0
        question = f"End these {len(found)}, which {'these journals do not know' if options.journals else 'are all there is'}"
        if not confirm(question, yes=options.yes, required=True):
            print_error("zego-aigc: nothing was ended")
            return 3
        return await _end(client, found)


async def _end(client: Client, found: Sequence[Unclaimed]) -> int:
    """End them, stream tasks before agents."""
    failed = 0
    for one in sorted(found, key=lambda one: one.action == "RegisterAgent"):
        try:
            await end(client, one)
        except ZegoError as error:
            failed += 1
            print_error(f"{one.id}: {error}")
    print_error(f"{len(found) - failed} of {len(found)} ended")
    return 1 if failed else 0


def _print(one: Unclaimed, *, as_json: bool) -> None:
    if as_json:
        print_json({"event": "orphan"} | {name: value for name, value in one._asdict().items() if value})
        return
    parts = [f"{one.action}  {one.id}", one.name and repr(one.name)]
    if one.stream_id:
        parts.append(f"stream {one.stream_id!r} in room {one.room_id!r}")
    if one.created is not None:
        parts.append(time.strftime("since %Y-%m-%d %H:%M:%S UTC", time.gmtime(one.created)))
    print_text("  ".join(part for part in parts if part))
