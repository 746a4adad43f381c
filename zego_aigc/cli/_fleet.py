"""The FLEET argument: a file, or standard input."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from zego_aigc.provisioning.fleet import Fleet, Format, format_of
from zego_aigc.provisioning.fleet.formats import HEAD

__all__ = ["open_fleet"]


@contextmanager
def open_fleet(argument: str) -> Generator[Fleet]:
    """The fleet that an argument names. What comes by standard input is kept in a file meanwhile, so that it may be long."""
    if argument != "-":
        yield Fleet(argument)
        return
    with TemporaryDirectory(prefix="zego-aigc-") as folder:
        source = sys.stdin.buffer
        head = source.read(HEAD)
        path = Path(folder, "fleet.toml" if format_of("", head) is Format.TOML else "fleet.jsonl")
        with path.open("wb") as file:
            file.write(head)
            shutil.copyfileobj(source, file)
        yield Fleet(path, name="<stdin>", folder=".")
