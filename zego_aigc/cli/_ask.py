"""Questions before something is ended."""

from __future__ import annotations

import sys

from zego_aigc.cli._output import wrapped
from zego_aigc.errors import ConfigurationError

__all__ = ["confirm"]


def confirm(question: str, *, yes: bool, required: bool = False) -> bool:
    """Ask a question on a terminal, and return whether it was answered with yes.

    Args:
        question: without its mark.
        yes: that it was answered on the command line.
        required: whether it must be answered where there is no terminal to ask on, too.

    Raises:
        ConfigurationError: it must, and was not.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        if required:
            raise ConfigurationError("there is no terminal to ask on: pass --yes to do it without a question")
        return True
    sys.stderr.write(wrapped(f"{question}? [y/N]", sys.stderr) + " ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
