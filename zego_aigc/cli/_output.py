"""Where the command line's words go."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

__all__ = ["print_error", "print_json", "print_line"]


def print_line(line: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def print_json(line: dict[str, Any]) -> None:
    """A JSON object as a line on standard output."""
    print_line(msgspec.json.encode(line).decode())


def print_error(line: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
