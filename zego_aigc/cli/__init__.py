"""The command ``zego-aigc``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from zego_aigc.cli._errors import report_error
from zego_aigc.cli._output import print_error
from zego_aigc.cli._parser import parse

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0: all done. 1: something failed. 2: wrong usage, or a fleet or journal that cannot be used; nothing was sent.
    3: outcomes are left unknown or pending.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        status: int = options.run(options)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print_error("zego-aigc: interrupted")
        return 3
    except Exception as error:  # noqa: BLE001 - what is not expected is raised again
        return report_error(error, as_json=getattr(options, "json", False))
    return status
