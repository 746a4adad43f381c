"""Numbers and reports as short texts, for every kind of display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zego_aigc.errors import ApiError
from zego_aigc.provisioning.events import LaneProgress, Outcome, Report
from zego_aigc.schema.lifecycle import LIFECYCLES

__all__ = ["afterwards", "counts", "duration", "ending_rates", "error_text", "rate", "stopped", "verdict"]

_ORDER = ("live", "done", "failed", "unknown", "in flight", "made", "pending", "removed", "gone", "not known")


def duration(seconds: float) -> str:
    """``7.3 s``, ``4 min 05 s`` or ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60:02} min"


def counts(counter: Mapping[str, int]) -> str:
    """``14 done, 2 failed``, in an order that stays the same."""
    return ", ".join(f"{counter[word]} {word}" for word in _ORDER if counter.get(word))


def verdict(report: Report) -> str:
    """How it ended, in one line."""
    parts = [f"{report.done} of {report.total} done"]
    if report.earlier:
        parts[0] += f" ({report.earlier} of them earlier)"
    parts += [
        f"{count} {word}"
        for count, word in ((report.failed, "failed"), (report.unknown, "unknown"), (report.pending, "pending"))
        if count
    ]
    text = f"{', '.join(parts)} in {duration(report.seconds)}"
    if report.pruned:
        text += f"; {report.pruned} removed that the fleet names no more"
    if report.stale:
        text += f"; {report.stale} may have ended since: --refresh asks"
    if report.rolled_back:
        text += f"; {report.rolled_back} removed again"
    return text


def stopped(why: str, *, in_sandbox: bool = False) -> str:
    """That a run was stopped, and what to do."""
    return f"stopped: {why}. {afterwards(in_sandbox=in_sandbox)}"


def afterwards(*, in_sandbox: bool) -> str:
    """What becomes of a run that was stopped."""
    if in_sandbox:
        return "The sandbox has ended, and what was made with it: another trial needs another journal"
    return "The same command goes on from there"


def rate(lane: LaneProgress) -> str:
    """``7/s of 10``."""
    return f"{lane.rate:g}/s of {lane.limit:g}"


def ending_rates(lanes: Sequence[LaneProgress]) -> list[str]:
    """``DeleteAgentInstance 7/s of 10``, for each Action that ends something now: what several made may share one."""
    return [f"{name} {rate(lane)}" for name, lane in {_ended_by(lane): lane for lane in lanes if lane.pending}.items()]


def _ended_by(lane: LaneProgress) -> str:
    life = LIFECYCLES.get(lane.action)
    return lane.action if life is None else life.lane


def error_text(outcome: Outcome) -> str:
    """Why an entry is not done, on one line. Its Action and its RequestId are left to places of their own."""
    error = outcome.error
    if isinstance(error, ApiError):
        said = error.message.removeprefix(f"{error.name}: ").rstrip(".")
        text = (
            f"{error.name} ({error.code}): {said}. {error.advice}" if said else f"{error.name} ({error.code}). {error.advice}"
        )
    else:
        text = "" if error is None else str(error)
    return " ".join(text.split())
