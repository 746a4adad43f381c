"""``zego-aigc completion``."""

from __future__ import annotations

import argparse

from zego_aigc.cli._output import print_line
from zego_aigc.errors import ConfigurationError

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print what a shell reads to complete commands."""
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError:
        raise ConfigurationError("completion needs argcomplete: pip install 'zego_aigc[cli]'") from None
    print_line(shellcode(["zego-aigc"], shell=options.shell))
    return 0
