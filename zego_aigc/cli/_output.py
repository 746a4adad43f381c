"""Where the command line's words go: data to standard output, words about it to standard error."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

import msgspec

__all__ = ["drop", "prepare", "print_error", "print_json", "print_line"]


def prepare() -> None:
    """Have characters that a stream cannot show written as escapes, and not end the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # what stands for a stream in a test may have none
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def print_line(line: str) -> None:
    """A line on standard output, at once."""
    _write(sys.stdout, line)


def print_json(line: dict[str, Any]) -> None:
    """A JSON object as a line on standard output."""
    print_line(msgspec.json.encode(line).decode())


def print_error(line: str) -> None:
    """A line on standard error."""
    _write(sys.stderr, line)


def _write(stream: TextIO, line: str) -> None:
    """Write a line. A reader that has gone is no reason to leave a fleet half made: what it would have read is dropped."""
    try:
        stream.write(f"{line}\n")
        stream.flush()
    except OSError:
        drop(stream)


def drop(stream: TextIO) -> None:
    """Send what is still to be written nowhere, since the other end has gone."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
