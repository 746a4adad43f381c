"""Plain lines, for pipes and logs: progress goes to standard error, and what came of it to standard output."""

from __future__ import annotations

from zego_aigc.cli._failures import Failures, of_outcome
from zego_aigc.cli._format import counts, duration, ending_rates, error_text, rate, stopped, verdict
from zego_aigc.cli._output import print_error, print_text
from zego_aigc.provisioning.events import LaneProgress, Outcome, Progress, Pruned, Report, RunEvent, Started, Warned

__all__ = ["PlainDisplay"]


class PlainDisplay:
    """A line every two seconds, one when something goes wrong in a new way, and at the end what went wrong how often."""

    interval = 2.0

    def __init__(self, title: str, where: str, *, in_sandbox: bool = False, removes: bool = False) -> None:
        self._title = title
        self._where = where
        self._in_sandbox = in_sandbox
        self._removes = removes
        self._last = ""
        self._failures = Failures()

    def begin(self) -> None:
        """Nothing is printed before there is something to say: a fleet with mistakes is answered with those alone."""

    def _head(self) -> None:
        if self._title:
            print_error(f"{self._title}: {self._where}")
            self._title = ""

    def event(self, event: RunEvent) -> None:
        match event:
            case Started(actions):
                self._head()
                print_error(", ".join(f"{count} {action}" for action, count in actions.items()) or "nothing to do")
            case Warned(message):
                print_error(f"warning: {message}")
            case Pruned(outcome):
                why = "" if outcome.status == "done" else f": {error_text(outcome)}"
                print_error(
                    f"{'removed' if outcome.status == 'done' else 'not removed'}, no longer in the fleet: {outcome.key}{why}"
                )
            case Outcome():
                failure = of_outcome(self._failures, event)
                if failure is not None and failure.count == 1 and failure.status != "pending":
                    print_error(f"{failure.status}: {failure.subject}: {failure.text}")
            case _:
                pass

    def progress(self, progress: Progress) -> None:
        if not progress.lanes:
            doing = progress.note or (f"checking the fleet: {progress.checked:,} entries so far" if progress.checked else "")
            if doing:
                self._head()
                print_error(doing)
            return
        if self._removes:
            parts = [*map(_counts, progress.lanes), *ending_rates(progress.lanes)]
        else:
            parts = [f"{_counts(lane)} ({rate(lane)})" for lane in progress.lanes]
        if progress.note:
            parts.append(progress.note)
        line = " | ".join(parts)
        if line and line != self._last:
            self._last = line
            left = f", {duration(progress.seconds_left)} left" if progress.seconds_left and not progress.note else ""
            print_error(f"[{duration(progress.seconds)}{left}] {line}")

    def notice(self, message: str) -> None:
        print_error(message)

    def end(self, report: Report | None) -> None:
        if report is None:
            return
        width = max(map(len, report.counts), default=0)
        for action, counter in report.counts.items():
            print_text(f"  {action:<{width}}  {counts(counter)}")
        for line in self._failures.lines():
            print_text(line)
        if report.stopped:
            print_text(stopped(report.stopped, in_sandbox=self._in_sandbox))
        print_text(verdict(report))


def _counts(lane: LaneProgress) -> str:
    wrong = "".join(f", {count} {word}" for count, word in ((lane.failed, "failed"), (lane.unknown, "unknown")) if count)
    return f"{lane.action} {lane.done}/{lane.total}{wrong}"
