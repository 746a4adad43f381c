"""``zego-aigc init``."""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path

from zego_aigc.cli._output import command, print_error, print_line
from zego_aigc.errors import ConfigurationError

__all__ = ["run", "starter"]


def starter() -> str:
    """A fleet to begin with."""
    return files("zego_aigc.cli").joinpath("starter.toml").read_text(encoding="utf-8")


def run(options: argparse.Namespace) -> int:
    """Write a starter fleet."""
    if options.file == "-":
        print_line(starter().rstrip())
        return 0
    path = Path(options.file)
    if path.suffix.lower() != ".toml":
        raise ConfigurationError(f"a fleet in TOML needs the suffix .toml: {path.with_suffix('.toml')}")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(starter())
    except FileExistsError:
        raise ConfigurationError(
            f"{path} exists already, and was left as it is: name another file, zego-aigc init FILE"
        ) from None
    print_error(f"{path} is written. To try it in a sandbox that ends with the command; each trial needs a new journal:")
    print_error("  " + command(f"zego-aigc provision {path} --journal {path.with_name('try.journal')} --sandbox"))
    print_error("To make it at the service; the same command goes on after whatever happens:")
    print_error("  " + command(f"zego-aigc provision {path} --journal {path.with_suffix('.journal')}"))
    return 0
