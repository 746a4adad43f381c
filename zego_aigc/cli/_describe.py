"""``zego-aigc describe``."""

from __future__ import annotations

import argparse

from zego_aigc.actions import ACTIONS
from zego_aigc.cli._out import say
from zego_aigc.errors import ConfigurationError

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print what an Action takes and gives, or which Actions there are."""
    if options.action is None:
        for name, cls in ACTIONS.items():
            summary = (cls.__doc__ or "").strip().splitlines()[0]
            say(f"{name:<40} {summary}")
        return 0
    if options.action not in ACTIONS:
        raise ConfigurationError(f"{options.action} is not an Action{_like(options.action)}")
    from zego_aigc._describe import describe

    say(describe(options.action))
    return 0


def _like(name: str) -> str:
    import difflib

    folded = {known.lower(): known for known in ACTIONS}
    close = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(folded[match] for match in close)}?" if close else ""
