"""Where the command line's words go."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

__all__ = ["complain", "say", "say_json"]


def say(line: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_json(line: dict[str, Any]) -> None:
    """A JSON object as a line on standard output."""
    say(msgspec.json.encode(line).decode())


def complain(line: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
