"""What the command line says when something is wrong, and the exit status that goes with it."""

from __future__ import annotations

from collections import Counter

from zego_aigc.cli._failures import without_details
from zego_aigc.cli._output import print_error, print_json
from zego_aigc.errors import ConfigurationError, InvalidRequest, ZegoError
from zego_aigc.provisioning.errors import InvalidFleet, JournalError, JournalLost, ProblemGroup
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
    if isinstance(error, JournalLost):
        return _report_lost_journal(error, as_json=as_json)
    print_error(f"zego-aigc: {error}")
    if as_json:
        print_json({"event": "error", "type": type(error).__name__, "message": str(error)})
    return 2 if isinstance(error, JournalError | FleetUnreadable | ConfigurationError) else 1


def _report_lost_journal(error: JournalLost, *, as_json: bool) -> int:
    """What lives and stands in no journal, to the last entry: nothing else lists it. Something was sent, so the status is 1."""
    for key, made_id in error.made:
        print_error(f"{key}  {made_id}")
        if as_json:
            print_json({"event": "unrecorded", "key": key, "id": made_id})
    print_error(f"zego-aigc: {error}")
    if as_json:
        print_json({"event": "error", "type": type(error).__name__, "message": str(error)})
    return 1


MAX_ALIKE = 5
"""Problems that differ in names and numbers alone of which each has its line."""


def _report_problems(error: InvalidRequest, *, as_json: bool) -> None:
    if as_json:
        for problem in error.problems:
            print_json({"event": "problem", "path": problem.path, "rule": problem.rule, "message": problem.message})
    shown = Counter[tuple[str, str, str]]()
    alike = Counter[tuple[str, str, str]]()
    groups = error.groups if isinstance(error, InvalidFleet) else [ProblemGroup("", one, 1) for one in error.problems]
    for group in groups:
        problem = group.problem
        kind = without_details(problem.path), problem.rule, without_details(problem.message)
        if shown[kind] < MAX_ALIKE:
            shown[kind] += 1
            print_error(str(group))
        else:
            alike[kind] += group.entries
    for (path, _, _), count in alike.items():
        print_error(f"... and {count} more like those{f' at {path}' if path else ''}")
    count = len(error.problems) + (error.more if isinstance(error, InvalidFleet) else 0)
    print_error(f"zego-aigc: {count} problem{'s' if count != 1 else ''}; nothing was sent")
