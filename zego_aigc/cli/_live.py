"""The live display on a terminal, drawn with rich."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from zego_aigc.cli._failures import Failure, Failures, of_outcome
from zego_aigc.cli._format import duration, ending_rates, rate, stopped, verdict
from zego_aigc.provisioning.events import LaneProgress, Outcome, Progress, Pruned, Report, RunEvent, Warned

__all__ = ["LiveDisplay", "divide", "shortened"]

MAX_ERRORS = 5
GAP = 2
MAX_BAR = 28
MIN_BAR = 8
MIN_NAME = 12


class _Terminal(Console):
    """A console that does not end the process when its reader has gone."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - rich calls this where it has caught the BrokenPipeError


class LiveDisplay:
    """A line for each Action with its bar and its rate against the limit, and the last errors under them."""

    interval = 0.1

    def __init__(
        self, title: str, where: str, *, console: Console | None = None, in_sandbox: bool = False, removes: bool = False
    ) -> None:
        self._title = title
        self._where = where
        self._in_sandbox = in_sandbox
        self._removes = removes
        self.console: Console = _Terminal(highlight=False) if console is None else console
        self._failures = Failures()
        self._latest: dict[Failure, None] = {}
        self._said = ""
        self._progress: Progress | None = None
        self._live = Live(
            console=self.console, auto_refresh=False, transient=True, get_renderable=self.render, redirect_stderr=False
        )

    def begin(self) -> None:
        self.console.print(Text.assemble((self._title, "bold"), "  ", (self._where, "dim")))
        self._live.start()
        self._live.refresh()

    def event(self, event: RunEvent) -> None:
        match event:
            case Warned(message):
                self._live.console.print(Text.assemble(("warning  ", "yellow"), message))
            case Pruned(outcome):
                done = outcome.status == "done"
                self._live.console.print(Text.assemble(("removed  " if done else "not removed  ", "yellow"), outcome.key))
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
            self.console.print(_summary(report, self._failures, in_sandbox=self._in_sandbox))

    # --- drawing

    def render(self) -> RenderableType:
        """What stands on the screen now."""
        progress = self._progress
        if progress is None or not progress.lanes:
            so_far = f": {progress.checked:,} entries so far" if progress is not None and progress.checked else ""
            doing = progress.note if progress is not None and progress.note else f"checking the fleet{so_far}"
            return Text(f"{doing} ...", style="dim")
        parts: list[RenderableType] = [Text(), _lanes(progress, self.console, removes=self._removes), Text(), _foot(progress)]
        if self._removes and (rates := ending_rates(progress.lanes)):
            parts.append(Text(", ".join(rates), style="cyan"))
        if progress.note:
            parts.append(Text(progress.note, style="yellow"))
        if self._said:
            parts.append(Text(self._said, style="yellow"))
        if self._latest:
            parts += [Text(), _errors(list(self._latest)[-MAX_ERRORS:], self.console)]
        return Padding(Group(*parts), (0, 1))


class _Widths(NamedTuple):
    """How a line is divided; 0 for what finds no room."""

    name: int
    bar: int
    rate: int
    wrong: int


def divide(width: int, name: int, count: int, rate: int, wrong: int) -> _Widths:
    """Divide a line of `width` among what wants so much of it.

    The counts always stand. The bar shrinks first, then names are shortened; then the bar goes, the rate, and at last what
    went wrong, which the foot and the errors under it say again.
    """
    for bar, rate_width, wrong_width in ((MIN_BAR, rate, wrong), (0, rate, wrong), (0, 0, wrong), (0, 0, 0)):
        room = width - count - GAP - sum(part + GAP for part in (bar, rate_width, wrong_width) if part)
        if room >= min(name, MIN_NAME):
            shown = min(name, room)
            return _Widths(shown, bar and min(MAX_BAR, bar + room - shown), rate_width, wrong_width)
    return _Widths(max(0, width - count - GAP), 0, 0, 0)


def shortened(name: str, width: int, *, ascii_only: bool = False) -> str:
    """An Action's name in no more than `width` characters: without its verb, with DH for DigitalHuman, without its middle."""
    if len(name) <= width:
        return name
    name = name.removeprefix("Create").removeprefix("Register")
    if len(name) <= width:
        return name
    name = name.replace("DigitalHuman", "DH")
    if len(name) <= width:
        return name
    dots = ".." if ascii_only else "…"
    if width <= len(dots) + 1:
        return name[:width]
    tail = (width - len(dots)) * 3 // 5
    return f"{name[: width - len(dots) - tail]}{dots}{name[-tail:]}"


def _lanes(progress: Progress, console: Console, *, removes: bool) -> Table:
    counts = [f"{lane.done}/{lane.total}" for lane in progress.lanes]
    rates = [
        # What is removed leaves at the rate of the Action that ends it: that stands in a line of its own.
        "" if removes or lane.pending == 0 else f"{rate(lane)}{', slowed' if lane.limiter.withheld else ''}"
        for lane in progress.lanes
    ]
    wrongs = [_wrong(lane) for lane in progress.lanes]
    widths = divide(
        console.width - 2,
        max(len(lane.action) for lane in progress.lanes),
        max(map(len, counts)),
        max(map(len, rates)),
        max(map(len, wrongs)),
    )
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, width=widths.name)
    table.add_column(justify="right", no_wrap=True)
    if widths.bar:
        table.add_column(width=widths.bar)
    if widths.rate:
        table.add_column(justify="right", no_wrap=True)
    if widths.wrong:
        table.add_column(no_wrap=True)
    for lane, count, pace, wrong in zip(progress.lanes, counts, rates, wrongs, strict=True):
        name = shortened(lane.action, widths.name, ascii_only=console.options.ascii_only)
        good = lane.pending == 0 and not wrong
        cells: list[RenderableType] = [Text(name, style="green" if good else ""), Text(count)]
        if widths.bar:
            cells.append(_bar(lane, widths.bar))
        if widths.rate:
            cells.append(Text(pace, style="cyan"))
        if widths.wrong:
            cells.append(wrong)
        table.add_row(*cells)
    return table


def _bar(lane: LaneProgress, width: int) -> ProgressBar:
    settled = lane.total - lane.pending
    return ProgressBar(total=max(1, lane.total), completed=settled, width=width, complete_style="cyan", finished_style="green")


def _wrong(lane: LaneProgress) -> Text:
    text = Text()
    for count, word, style in ((lane.failed, "failed", "red"), (lane.unknown, "unknown", "magenta")):
        if count:
            text.append(f"{'  ' if text else ''}{count} {word}", style=style)
    return text


def _foot(progress: Progress) -> Text:
    def total(count: str) -> int:
        return sum(getattr(lane, count) for lane in progress.lanes)

    in_flight = total("in_flight")
    text = Text.assemble((f"{total('done')} of {total('total')}", "bold"), f" in {duration(progress.seconds)}")
    for status, style in (("failed", "red"), ("unknown", "magenta")):
        if total(status):
            text.append(f", {total(status)} {status}", style=style)
    if progress.seconds_left and not progress.note:
        text.append(f", about {duration(progress.seconds_left)} left at the limits")
    if in_flight:
        text.append(f"   {in_flight} in flight", style="dim")
    return text


def _errors(failures: list[Failure], console: Console) -> Table:
    overflow: OverflowMethod = "crop" if console.options.ascii_only else "ellipsis"
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(width=7)
    table.add_column(no_wrap=True, overflow=overflow, max_width=max(12, console.width // 3))
    table.add_column(overflow=overflow, no_wrap=True, ratio=1)
    for failure in failures:
        table.add_row(_status(failure.status), Text(failure.subject), Text(failure.text, style="dim"))
    return table


def _status(status: str) -> Text:
    return Text(f"{status:<7}", style={"failed": "red", "unknown": "magenta", "done": "green"}.get(status, "yellow"))


# --- the end -----------------------------------------------------------------------------------------------------


def _summary(report: Report, failures: Failures, *, in_sandbox: bool) -> RenderableType:
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
        parts.append(Text(stopped(report.stopped, in_sandbox=in_sandbox), style="yellow"))
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
