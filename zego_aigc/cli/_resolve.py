"""``zego-aigc resolve``."""

from __future__ import annotations

import argparse
import asyncio

from zego_aigc.cli._output import print_error
from zego_aigc.provisioning.resolving import resolve

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Note what has become of an entry whose outcome is unknown."""
    asyncio.run(resolve(options.journal, options.key, made_id=options.id, gone=options.gone))
    what = "nothing of it lives, and the next run recreates it" if options.gone else f"it is done, as {options.id}"
    print_error(f"{options.key}: {what}")
    return 0
