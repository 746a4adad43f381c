"""How an operation is shown: drawn on a terminal, as plain lines, or as JSON lines."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from zego_aigc.cli._output import drop, print_error

if TYPE_CHECKING:
    from zego_aigc.provisioning.events import Progress, Report, RunEvent

__all__ = ["Display", "choose_display"]


class Display(Protocol):
    """How an operation is shown."""

    interval: float
    """Seconds between two looks at the progress."""

    def begin(self) -> None:
        """The fleet is being checked."""
        ...

    def event(self, event: RunEvent) -> None:
        """Something happened."""
        ...

    def progress(self, progress: Progress) -> None:
        """So far it is."""
        ...

    def notice(self, message: str) -> None:
        """A word to the person who pressed Ctrl-C."""
        ...

    def end(self, report: Report | None) -> None:
        """It is over; without a report when it could not even begin."""
        ...


def choose_display(options: argparse.Namespace, title: str, where: str, *, removes: bool = False) -> Display:
    """The display that was asked for, or that suits what standard output is."""
    return _Enduring(_chosen(options, title, where, removes=removes))


def _chosen(options: argparse.Namespace, title: str, where: str, *, removes: bool) -> Display:
    in_sandbox = bool(getattr(options, "sandbox", False))
    if options.json:
        from zego_aigc.cli._json import JsonDisplay

        return JsonDisplay()
    if sys.stdout.isatty() and not options.plain and os.environ.get("TERM") != "dumb":
        try:
            from zego_aigc.cli._live import LiveDisplay
        except ImportError:
            print_error("(for a live display: pip install 'zego_aigc[cli]')")
        else:
            return LiveDisplay(title, where, in_sandbox=in_sandbox, removes=removes)
    from zego_aigc.cli._plain import PlainDisplay

    return PlainDisplay(title, where, in_sandbox=in_sandbox, removes=removes)


class _Enduring:
    """A display that a terminal which goes away, or cannot show something, does not take the operation along with."""

    def __init__(self, display: Display) -> None:
        self._display: Display | None = display
        self.interval: float = display.interval

    def begin(self) -> None:
        self._try(lambda display: display.begin())

    def event(self, event: RunEvent) -> None:
        self._try(lambda display: display.event(event))

    def progress(self, progress: Progress) -> None:
        self._try(lambda display: display.progress(progress))

    def notice(self, message: str) -> None:
        self._try(lambda display: display.notice(message))

    def end(self, report: Report | None) -> None:
        self._try(lambda display: display.end(report))

    def _try(self, show: Callable[[Display], None]) -> None:
        if self._display is None:
            return
        try:
            show(self._display)
        except (OSError, UnicodeError) as error:
            self._display = None
            drop(sys.stdout)
            print_error(f"(nothing more is shown: {error})")
