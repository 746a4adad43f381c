"""Running a provisioning or a teardown for the command line: its display, and Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio

from zego_aigc.cli._display import Display, choose_display
from zego_aigc.cli._format import afterwards
from zego_aigc.cli._output import print_error
from zego_aigc.errors import VendorAdvice
from zego_aigc.provisioning.events import Finished

if TYPE_CHECKING:
    from zego_aigc.provisioning.events import Report
    from zego_aigc.provisioning.operation import Operation

__all__ = ["drive"]

SURROUNDINGS = {"_script_runner", "clock"}
"""The modules that log what happens to Redis, and that this machine's clock is wrong."""


async def drive(operation: Operation, options: argparse.Namespace, *, title: str, where: str, removes: bool = False) -> int:
    """Run an operation to its end and return the exit status; `removes` says that it ends what was made."""
    warnings.simplefilter("ignore", VendorAdvice)  # which is part of the display
    display = choose_display(options, title, where, removes=removes)
    interrupts = _Interrupts(operation, display, in_sandbox=bool(getattr(options, "sandbox", False)))
    display.begin()
    report: Report | None = None
    try:
        with interrupts, _Notices(display):
            watching = asyncio.create_task(_watch(operation, display))
            try:
                async with operation:
                    interrupts.running = True
                    async for event in operation.events():
                        if isinstance(event, Finished):
                            watching.cancel()  # it is the last word, however long the journal takes to be closed
                        display.event(event)
            finally:
                watching.cancel()
            report = operation.report
    finally:
        display.end(report)
    assert report is not None
    return report.exit_status


async def _watch(operation: Operation, display: Display) -> None:
    while True:
        await anyio.sleep(display.interval)
        display.progress(operation.progress)


class _Notices(logging.Handler):
    """Shows what is logged about the surroundings of a run. What is logged about single calls is in the display already."""

    def __init__(self, display: Display) -> None:
        super().__init__(logging.INFO)
        self._display = display
        self._logger = logging.getLogger("zego_aigc")
        self._before = self._logger.level

    def __enter__(self) -> None:
        self._logger.addHandler(self)
        self._logger.setLevel(min(self._before or logging.INFO, logging.INFO))  # which says when Redis answers again

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._before)

    def emit(self, record: logging.LogRecord) -> None:
        if record.module in SURROUNDINGS:
            self._display.notice(("warning: " if record.levelno >= logging.WARNING else "") + record.getMessage())


class _Interrupts:
    """Ctrl-C: once to stop cleanly, twice to stop at once. While the fleet is still being checked, once is enough.

    A terminal that goes away (SIGHUP; on Windows the closing of the console, and Ctrl-Break) counts as Ctrl-C once, and never
    as the second one. Under ``nohup`` it counts as nothing.
    """

    def __init__(self, operation: Operation, display: Display, *, in_sandbox: bool) -> None:
        self._operation = operation
        self._display = display
        self._in_sandbox = in_sandbox
        self._times = 0
        self._hung_up = False
        self._restore: list[Callable[[], object]] = []
        self.running = False

    def __enter__(self) -> None:
        for name, handle in (
            ("SIGINT", self._interrupt),
            ("SIGTERM", self._interrupt),
            ("SIGHUP", self._hang_up),
            ("SIGBREAK", self._hang_up),
        ):
            number: signal.Signals | None = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                with suppress(ValueError, RuntimeError):  # not in the main thread
                    self._listen(number, handle)

    def _listen(self, number: signal.Signals, handle: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(number, handle)
        except NotImplementedError:  # on Windows

            def handler(_: int, __: object) -> None:
                loop.call_soon_threadsafe(handle)

            before = signal.signal(number, handler)
            self._restore.append(partial(signal.signal, number, before))
        else:
            self._restore.append(partial(loop.remove_signal_handler, number))

    def __exit__(self, *_: object) -> None:
        for restore in self._restore:
            restore()

    def _hang_up(self) -> None:
        if sys.platform != "win32" and not self._hung_up:
            self._hung_up = True
            self._restore.append(partial(signal.signal, signal.SIGHUP, signal.SIG_IGN))  # until the process has ended
        if not self._times:
            self._interrupt()

    def _interrupt(self) -> None:
        self._times += 1
        if not self.running:
            self._display.end(None)
            print_error("zego-aigc: interrupted while checking; nothing was sent")
            _leave(3)
        if self._times == 1:
            self._display.notice("stopping: waiting for what is in flight; press Ctrl-C again to stop at once")
            self._operation.stop("it was interrupted")
            return
        self._display.end(None)
        print_error(f"zego-aigc: stopped at once; what was in flight is unknown. {afterwards(in_sandbox=self._in_sandbox)}")
        _leave(3)


def _leave(status: int) -> None:
    """End the process this very moment. The journal stands it: it is made to be killed at any instruction."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
