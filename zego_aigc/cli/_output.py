"""Where the command line's words go: data to standard output, words about it to standard error."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from contextlib import suppress
from typing import Any, TextIO

import msgspec

__all__ = [
    "command",
    "drop",
    "prepare",
    "print_error",
    "print_json",
    "print_line",
    "print_text",
    "terminal_width",
    "wrapped",
]

MIN_WIDTH = 20
"""Columns of a terminal from which on lines are broken between words."""

_JOINED = "\x1f"
"""Stands for a space at which no line is broken, until the line is written."""


def prepare() -> None:
    """Have characters that a stream cannot show written as escapes, and not end the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # what stands for a stream in a test may have none
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def print_line(line: str) -> None:
    """A line on standard output, at once, and as it is: it may be read by a program."""
    _write(sys.stdout, line)


def print_text(text: str, *, hang: int = 2) -> None:
    """Words on standard output for people; `hang` is how much further in a line begins that goes on with the one before."""
    _write(sys.stdout, wrapped(text, sys.stdout, hang=hang))


def print_json(line: dict[str, Any]) -> None:
    """A JSON object as a line on standard output."""
    print_line(msgspec.json.encode(line).decode())


def print_error(text: str) -> None:
    """Words on standard error."""
    _write(sys.stderr, wrapped(text, sys.stderr))


def command(text: str) -> str:
    """A command within a text that is printed for people: its words stay on one line, from which it can be copied."""
    return text.replace(" ", _JOINED)


def wrapped(text: str, stream: TextIO, *, hang: int = 2) -> str:
    """A text whose lines are broken between words where `stream` is a terminal that is too narrow for them."""
    width = terminal_width(stream)
    if width is not None and width >= MIN_WIDTH:
        text = "\n".join(part for line in text.split("\n") for part in _broken(line, width, hang))
    return text.replace(_JOINED, " ")


def _broken(line: str, width: int, hang: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = " " * min(len(line) - len(line.lstrip()) + hang, width // 2)
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


def terminal_width(stream: TextIO) -> int | None:
    """The columns of the terminal that a stream leads to; None if it leads to none."""
    if not stream.isatty():
        return None
    try:
        own = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):  # what stands for a terminal in a test has no number
        own = os.terminal_size((80, 24))
    return shutil.get_terminal_size(own).columns if own.columns else 80


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
