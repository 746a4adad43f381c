"""The command ``zego-aigc``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from zego_aigc.cli._environment import load_env_file
from zego_aigc.cli._output import prepare, print_error
from zego_aigc.cli._parser import parse

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0: all done. 1: something failed. 2: wrong usage, or a fleet or journal that cannot be used; nothing was sent.
    3: outcomes are left unknown or pending. 4: ``plan`` says that there is something to do.
    """
    prepare()
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        if options.env_file is not None:
            load_env_file(options.env_file)
        status: int = options.run(options)
    except KeyboardInterrupt:
        print_error("zego-aigc: interrupted")
        return 3
    except Exception as error:  # noqa: BLE001 - what is not expected is raised again
        from zego_aigc.cli._errors import report_error

        return report_error(error, as_json=options.json)
    return status
