"""Plain lines, for pipes and logs."""

from __future__ import annotations

from zego_aigc.cli._out import say
from zego_aigc.cli._words import duration, error_text, verdict
from zego_aigc.provisioning.events import Event, LaneProgress, Outcome, Progress, Report, Started, Warned

__all__ = ["PlainDisplay"]


class PlainDisplay:
    """A line every two seconds, and one for each thing that went wrong."""

    interval = 2.0

    def __init__(self, title: str, where: str) -> None:
        self._title = title
        self._where = where
        self._last = ""

    def begin(self) -> None:
        say(f"{self._title}: {self._where}")

    def event(self, event: Event) -> None:
        match event:
            case Started(actions):
                say(", ".join(f"{count} {action}" for action, count in actions.items()) or "nothing to do")
            case Warned(message):
                say(f"warning: {message}")
            case Outcome(status="failed" | "unknown"):
                request = f" [RequestId {event.request_id}]" if event.request_id else ""
                say(f"{event.status}: {event.key}: {error_text(event)}{request}")
            case _:
                pass

    def progress(self, progress: Progress) -> None:
        parts = [_lane(lane) for lane in progress.lanes]
        if progress.note:
            parts.append(progress.note)
        line = " | ".join(parts)
        if line and line != self._last:
            self._last = line
            left = f", {duration(progress.seconds_left)} left" if progress.seconds_left else ""
            say(f"[{duration(progress.seconds)}{left}] {line}")

    def say(self, message: str) -> None:
        say(message)

    def end(self, report: Report | None) -> None:
        if report is None:
            return
        width = max(map(len, report.counts), default=0)
        for action, counter in report.counts.items():
            counts = ", ".join(f"{count} {status}" for status, count in counter.items() if count)
            say(f"  {action:<{width}}  {counts}")
        if report.stopped:
            say(f"stopped: {report.stopped}")
        say(verdict(report))


def _lane(lane: LaneProgress) -> str:
    wrong = "".join(f", {count} {word}" for count, word in ((lane.failed, "failed"), (lane.unknown, "unknown")) if count)
    return f"{lane.action} {lane.done}/{lane.total}{wrong} ({lane.rate:g}/s of {lane.limit:g})"
