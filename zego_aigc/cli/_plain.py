"""Plain lines, for pipes and logs."""

from __future__ import annotations

from zego_aigc.cli._failures import Causes, of_outcome
from zego_aigc.cli._format import counts, duration, verdict
from zego_aigc.cli._output import say
from zego_aigc.provisioning.events import Event, LaneProgress, Outcome, Progress, Report, Started, Warned

__all__ = ["PlainDisplay"]


class PlainDisplay:
    """A line every two seconds, one when something goes wrong in a new way, and at the end what went wrong how often."""

    interval = 2.0

    def __init__(self, title: str, where: str) -> None:
        self._title = title
        self._where = where
        self._last = ""
        self._causes = Causes()

    def begin(self) -> None:
        say(f"{self._title}: {self._where}")

    def event(self, event: Event) -> None:
        match event:
            case Started(actions):
                say(", ".join(f"{count} {action}" for action, count in actions.items()) or "nothing to do")
            case Warned(message):
                say(f"warning: {message}")
            case Outcome():
                cause = of_outcome(self._causes, event)
                if cause is not None and cause.count == 1 and cause.status != "pending":
                    say(f"{cause.status}: {cause.subject}: {cause.text}")
            case _:
                pass

    def progress(self, progress: Progress) -> None:
        parts = [_lane(lane) for lane in progress.lanes]
        if progress.note:
            parts.append(progress.note)
        line = " | ".join(parts)
        if line and line != self._last:
            self._last = line
            left = f", {duration(progress.seconds_left)} left" if progress.seconds_left and not progress.note else ""
            say(f"[{duration(progress.seconds)}{left}] {line}")

    def say(self, message: str) -> None:
        say(message)

    def end(self, report: Report | None) -> None:
        if report is None:
            return
        width = max(map(len, report.counts), default=0)
        for action, counter in report.counts.items():
            say(f"  {action:<{width}}  {counts(counter)}")
        for line in self._causes.lines():
            say(line)
        if report.stopped:
            say(f"stopped: {report.stopped}")
        say(verdict(report))


def _lane(lane: LaneProgress) -> str:
    wrong = "".join(f", {count} {word}" for count, word in ((lane.failed, "failed"), (lane.unknown, "unknown")) if count)
    return f"{lane.action} {lane.done}/{lane.total}{wrong} ({lane.rate:g}/s of {lane.limit:g})"
