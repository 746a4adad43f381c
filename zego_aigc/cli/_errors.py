"""What the command line says when something is wrong, and the exit status that goes with it."""

from __future__ import annotations

from zego_aigc.cli._output import print_error, print_json
from zego_aigc.errors import ConfigurationError, InvalidRequest, ZegoError
from zego_aigc.provisioning.errors import InvalidFleet, JournalError
from zego_aigc.provisioning.fleet import FleetUnreadable

__all__ = ["report_error"]


def report_error(error: Exception, *, as_json: bool) -> int:
    """Print an error, one line for each problem, and return the exit status.

    Raises:
        Exception: `error` itself, when it is not one that the library raises on purpose.
    """
    if not isinstance(error, ZegoError | OSError):
        raise error
    if isinstance(error, InvalidRequest):
        _report_problems(error, as_json=as_json)
        return 2
    print_error(f"zego-aigc: {error}")
    if as_json:
        print_json({"event": "error", "type": type(error).__name__, "message": str(error)})
    return 2 if isinstance(error, JournalError | FleetUnreadable | ConfigurationError) else 1


def _report_problems(error: InvalidRequest, *, as_json: bool) -> None:
    for problem in error.problems:
        print_error(str(problem))
        if as_json:
            line = {"event": "problem", "path": problem.path, "rule": problem.rule, "message": problem.message}
            print_json(line)
    more = error.more if isinstance(error, InvalidFleet) else 0
    count = len(error.problems) + more
    rest = f" ({more} of them not shown)" if more else ""
    print_error(f"zego-aigc: {count} problem{'s' if count != 1 else ''}{rest}; nothing was sent")
