"""Events as JSON lines."""

# pyright: reportUnknownVariableType=false
# (results are of whatever type their Action declares)
from __future__ import annotations

from typing import Any

import msgspec

from zego_aigc.cli._output import print_json
from zego_aigc.provisioning.events import Finished, Outcome, Progress, Pruned, Report, RunEvent, Started, Warned, error_facts
from zego_aigc.schema.decoding import enc_hook
from zego_aigc.schema.redaction import masked_wire

__all__ = ["JsonDisplay", "outcome_line"]


class JsonDisplay:
    """One JSON object a line, on standard output."""

    interval = 1.0

    def begin(self) -> None: ...

    def event(self, event: RunEvent) -> None:
        match event:
            case Outcome():
                print_json(outcome_line(event))
            case Started(actions):
                print_json({"event": "started", "actions": dict(actions)})
            case Warned(message):
                print_json({"event": "warning", "message": message})
            case Pruned(outcome):
                print_json(outcome_line(outcome) | {"event": "pruned"})
            case Finished(report):
                print_json(_report_line(report))

    def progress(self, progress: Progress) -> None:
        print_json({"event": "progress"} | msgspec.to_builtins(progress))

    def notice(self, message: str) -> None:
        print_json({"event": "note", "message": message})

    def end(self, report: Report | None) -> None: ...


def outcome_line(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON."""
    result = outcome.result
    if result is not None:
        kind: type[msgspec.Struct] = type(result)
        result = masked_wire(kind, msgspec.to_builtins(result, enc_hook=enc_hook))
    line: dict[str, Any] = {
        "event": "outcome",
        "key": outcome.key,
        "action": type(outcome.action).__name__,
        "status": outcome.status,
        "result": result,
        "error": None if outcome.error is None else error_facts(outcome.error),
        "where": outcome.where,
        "origin": outcome.origin,
        "earlier": outcome.earlier,
        "request_id": outcome.request_id,
        "attempts": outcome.attempts,
    }
    return {key: value for key, value in line.items() if value is not None}


def _report_line(report: Report) -> dict[str, Any]:
    return {
        "event": "finished",
        "total": report.total,
        "done": report.done,
        "earlier": report.earlier,
        "failed": report.failed,
        "unknown": report.unknown,
        "pending": report.pending,
        "rolled_back": report.rolled_back,
        "gone": report.gone,
        "pruned": report.pruned,
        "stale": report.stale,
        "stopped": report.stopped,
        "seconds": round(report.seconds, 3),
        "exit_status": report.exit_status,
        "actions": {action: {k: v for k, v in counter.items() if v} for action, counter in report.counts.items()},
    }
