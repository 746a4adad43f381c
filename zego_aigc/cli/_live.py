"""The live display on a terminal, drawn with rich."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from zego_aigc.cli._failures import Failure, Failures, of_outcome
from zego_aigc.cli._format import duration, verdict
from zego_aigc.provisioning.events import LaneProgress, Outcome, Progress, Report, RunEvent, Warned

__all__ = ["LiveDisplay"]

MOST_ERRORS = 5


class LiveDisplay:
    """A line for each Action with its bar and its rate against the limit, and the last errors under them."""

    interval = 0.1

    def __init__(self, title: str, where: str) -> None:
        self._title = title
        self._where = where
        self._console = Console(highlight=False)
        self._failures = Failures()
        self._latest: dict[Failure, None] = {}
        self._said = ""
        self._progress: Progress | None = None
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, get_renderable=self._draw, redirect_stderr=False
        )

    def begin(self) -> None:
        self._console.print(Text.assemble((self._title, "bold"), "  ", (self._where, "dim")))
        self._live.start()
        self._live.refresh()

    def event(self, event: RunEvent) -> None:
        match event:
            case Warned(message):
                self._live.console.print(Text.assemble(("warning  ", "yellow"), message))
            case Outcome():
                failure = of_outcome(self._failures, event)
                if failure is not None and failure.status != "pending":
                    self._latest.pop(failure, None)
                    self._latest[failure] = None
            case _:
                pass

    def progress(self, progress: Progress) -> None:
        self._progress = progress
        self._live.refresh()

    def notice(self, message: str) -> None:
        self._said = message
        self._live.refresh()

    def end(self, report: Report | None) -> None:
        self._live.stop()
        if report is not None:
            self._console.print(_summary(report, self._failures))

    # --- drawing

    def _draw(self) -> RenderableType:
        progress = self._progress
        if progress is None:
            return Text("checking the fleet ...", style="dim")
        parts: list[RenderableType] = [Text(), _lanes(progress), Text(), _foot(progress)]
        if progress.note:
            parts.append(Text(progress.note, style="yellow"))
        if self._said:
            parts.append(Text(self._said, style="yellow"))
        if self._latest:
            parts += [Text(), _errors(list(self._latest)[-MOST_ERRORS:])]
        return Padding(Group(*parts), (0, 1))


def _lanes(progress: Progress) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(width=28)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for lane in progress.lanes:
        finished = lane.pending == 0
        told = lane.total - lane.pending
        bar = ProgressBar(total=max(1, lane.total), completed=told, width=28, complete_style="cyan", finished_style="green")
        table.add_row(
            Text(lane.action, style="green" if finished and not lane.failed and not lane.unknown else ""),
            bar,
            Text(f"{lane.done}/{lane.total}"),
            Text("" if finished else f"{lane.rate:g}/s of {lane.limit:g}", style="cyan"),
            _wrong(lane),
        )
    return table


def _wrong(lane: LaneProgress) -> Text:
    text = Text()
    for count, word, style in ((lane.failed, "failed", "red"), (lane.unknown, "unknown", "magenta")):
        if count:
            text.append(f"{count} {word}  ", style=style)
    return text


def _foot(progress: Progress) -> Text:
    done = sum(lane.done for lane in progress.lanes)
    total = sum(lane.total for lane in progress.lanes)
    in_flight = sum(lane.in_flight for lane in progress.lanes)
    text = Text.assemble((f"{done} of {total}", "bold"), f" in {duration(progress.seconds)}")
    if progress.seconds_left and not progress.note:
        text.append(f", about {duration(progress.seconds_left)} left at the limits")
    if in_flight:
        text.append(f"   {in_flight} in flight", style="dim")
    return text


def _errors(failures: list[Failure]) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(width=7)
    table.add_column(no_wrap=True, max_width=44)
    table.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
    for failure in failures:
        table.add_row(_status(failure.status), Text(failure.subject), Text(failure.text, style="dim"))
    return table


def _status(status: str) -> Text:
    return Text(f"{status:<7}", style={"failed": "red", "unknown": "magenta", "done": "green"}.get(status, "yellow"))


# --- the end -----------------------------------------------------------------------------------------------------


def _summary(report: Report, failures: Failures) -> RenderableType:
    table = Table(box=None, padding=(0, 2), show_edge=False, header_style="dim")
    table.add_column("Action")
    columns = [status for status in ("done", "failed", "unknown", "pending") if any(c[status] for c in report.counts.values())]
    for status in columns:
        table.add_column(status, justify="right")
    for action, counter in report.counts.items():
        table.add_row(
            action, *(Text(str(counter[status]) if counter[status] else "-", style=_style(status)) for status in columns)
        )
    parts: list[RenderableType] = [Text(), table, Text()]
    if trouble := list(_trouble(failures)):
        parts += [*trouble, Text()]
    if report.stopped:
        parts.append(Text(f"stopped: {report.stopped}", style="yellow"))
    good = report.exit_status == 0
    parts.append(Text.assemble(("✓ " if good else "✗ ", "bold green" if good else "bold red"), (verdict(report), "bold")))
    return Group(*parts)


def _style(status: str) -> str:
    return {"done": "green", "failed": "red", "unknown": "magenta"}.get(status, "yellow")


def _trouble(failures: Failures) -> Iterator[RenderableType]:
    for failure in failures:
        details = (f"  {failure.details}", "dim") if failure.details else ""
        yield Text.assemble("  ", _status(failure.status), "  ", (failure.subject, "bold"), details)
        yield Padding(Text(failure.text), (0, 0, 0, 11))
        for line in failure.listing():
            yield Padding(Text(line, style="dim"), (0, 0, 0, 11))
    if failures.others:
        yield Text(f"  and {failures.others} more", style="dim")
