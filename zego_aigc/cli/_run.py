"""Running a provisioning or a teardown for the command line: its display, and Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from zego_aigc.cli._display import Display, choose_display
from zego_aigc.cli._output import print_error
from zego_aigc.errors import VendorAdvice

if TYPE_CHECKING:
    from zego_aigc.provisioning.events import Report
    from zego_aigc.provisioning.operation import Operation

__all__ = ["drive"]


async def drive(operation: Operation, options: argparse.Namespace, *, title: str, where: str) -> int:
    """Run an operation to its end and return the exit status."""
    # What these say is part of the display.
    logging.getLogger("zego_aigc").addHandler(logging.NullHandler())
    warnings.simplefilter("ignore", VendorAdvice)
    display = choose_display(options, title, where)
    interrupts = _Interrupts(operation, display)
    display.begin()
    report: Report | None = None
    try:
        with interrupts:
            watching = asyncio.create_task(_watch(operation, display))
            try:
                async with operation:
                    interrupts.running = True
                    async for event in operation.events():
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


class _Interrupts:
    """Ctrl-C: once to stop cleanly, twice to stop at once. While the fleet is still being checked, once is enough."""

    def __init__(self, operation: Operation, display: Display) -> None:
        self._operation = operation
        self._display = display
        self._times = 0
        self.running = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError):
                loop.add_signal_handler(number, self._interrupt)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError):
                loop.remove_signal_handler(number)

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
        print_error("zego-aigc: stopped at once; what was in flight is unknown. The same command goes on from there")
        _leave(3)


def _leave(status: int) -> None:
    """End the process this very moment. The journal stands it: it is made to be killed at any instruction."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
