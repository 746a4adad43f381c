"""``zego-aigc teardown``."""

from __future__ import annotations

import argparse
import asyncio

from zego_aigc.cli._ask import confirm
from zego_aigc.cli._environment import client_from_options
from zego_aigc.cli._format import counts
from zego_aigc.cli._output import print_error
from zego_aigc.cli._provision import where
from zego_aigc.cli._run import drive
from zego_aigc.provisioning.journal_reader import Reading, read_journal
from zego_aigc.provisioning.removal import Teardown

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Remove what a journal made."""
    with read_journal(options.journal) as reading:
        reading.refuse_ended_sandbox()  # before credentials are asked for, which would be of no use
        question = _question(options, reading)
    if question and not confirm(question, yes=options.yes):
        print_error("zego-aigc: nothing was removed")
        return 3
    return asyncio.run(_teardown(options))


def _question(options: argparse.Namespace, reading: Reading) -> str:
    if options.only:
        return f"End what {', '.join(options.only)} made at {reading.facts.target}"
    made: dict[str, int] = {}
    for (action, status), count in reading.counts().items():
        if status not in {"removed", "pending", "failed"}:
            made[action] = made.get(action, 0) + count
    what = counts(made) or ", ".join(f"{count} {action}" for action, count in made.items())
    return f"End what {options.journal} made at {reading.facts.target}: {what}" if made else ""


async def _teardown(options: argparse.Namespace) -> int:
    async with client_from_options(options) as client:
        operation = Teardown(client, options.journal, only=options.only or None)
        title = f"Removing what {options.journal} made"
        return await drive(operation, options, title=title, where=where(client), removes=True)
