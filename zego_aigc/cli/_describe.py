"""``zego-aigc describe``."""

from __future__ import annotations

import argparse
import sys

from zego_aigc.cli._output import print_text, terminal_width
from zego_aigc.errors import ConfigurationError
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.schema.describe import describe, in_reading_order, plain
from zego_aigc.schema.naming import did_you_mean

__all__ = ["run"]

NAME = 36
"""Columns for the name of an Action."""

WIDTH = 100
"""Columns of a text that is easily read."""


def run(options: argparse.Namespace) -> int:
    """Print what an Action takes and gives, or which Actions there are."""
    if options.action is None:
        for cls in in_reading_order():
            print_text(f"{cls.__name__:<{NAME}} {plain((cls.__doc__ or '').strip().splitlines()[0])}", hang=NAME + 1)
        return 0
    if options.action not in ACTIONS:
        raise ConfigurationError(f"{options.action} is not an Action{did_you_mean(options.action, ACTIONS)}")
    print_text(describe(options.action, width=min(WIDTH, terminal_width(sys.stdout) or WIDTH)))
    return 0
