"""``zego-aigc teardown``."""

from __future__ import annotations

import argparse
import asyncio

from zego_aigc.cli._environment import client_from_options
from zego_aigc.cli._provision import where
from zego_aigc.cli._run import drive
from zego_aigc.provisioning.journal_reader import read_journal
from zego_aigc.provisioning.removal import Teardown

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Remove what a journal made."""
    with read_journal(options.journal) as reading:
        reading.refuse_ended_sandbox()  # before credentials are asked for, which would be of no use
    return asyncio.run(_teardown(options))


async def _teardown(options: argparse.Namespace) -> int:
    async with client_from_options(options) as client:
        operation = Teardown(client, options.journal)
        return await drive(operation, options, title=f"Removing what {options.journal} made", where=where(client))
