"""``zego-aigc maintain``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
import warnings
from contextlib import AsyncExitStack, suppress
from typing import Any

from aiohttp import web

from zego_aigc.callbacks import CallbackRouter
from zego_aigc.callbacks.events import AgentInstanceCreated, AgentInstanceDeleted, StreamTaskEvent
from zego_aigc.cli._environment import client_from_options, quota_from_options
from zego_aigc.cli._fleet import open_fleet
from zego_aigc.cli._format import duration, error_text
from zego_aigc.cli._json import outcome_line
from zego_aigc.cli._output import print_error, print_json, print_text
from zego_aigc.cli._provision import where
from zego_aigc.errors import ConfigurationError, VendorAdvice
from zego_aigc.provisioning.events import Outcome, Pruned, Warned
from zego_aigc.provisioning.fleet import Fleet
from zego_aigc.provisioning.maintenance import Gone, Maintenance, MaintenanceEvent, maintain

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Keep a fleet alive until stopped. One line an event."""
    warnings.simplefilter("ignore", VendorAdvice)
    with open_fleet(options.fleet) as fleet:
        return asyncio.run(_maintain(options, fleet))


async def _maintain(options: argparse.Namespace, fleet: Fleet) -> int:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(client_from_options(options))
        upkeep = maintain(
            client,
            fleet,
            journal=options.journal,
            interval=options.interval,
            quota=await stack.enter_async_context(quota_from_options(options)),
            on_quota=options.on_quota,
            on_unknown=options.on_unknown,
            if_exists=options.if_exists,
            extend=options.extend,
            until=options.until,
            quota_wait=options.quota_wait,
            update=options.update,
            prune=options.prune,
        )
        if options.callbacks is not None:
            url = await _listen(upkeep, options.callbacks, stack)
            print_error(f"callbacks are taken at {url}")
        print_error(f"Keeping {fleet} alive: {where(client)}, looking every {duration(options.interval)}")
        loop = asyncio.get_running_loop()
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number: signal.Signals | None = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
                with suppress(NotImplementedError):  # on Windows
                    loop.add_signal_handler(number, upkeep.stop)
        async with upkeep:
            async for event in upkeep:
                _print(event, as_json=options.json)
        done, total = upkeep.size
        print_error(f"stopped: {done} of {total} were alive. The same command goes on")
        return 0 if done == total else 3


async def _listen(upkeep: Maintenance, address: tuple[str, int], stack: AsyncExitStack) -> str:
    """Serve callbacks, and return their URL."""
    secret = os.environ.get("ZEGO_CALLBACK_SECRET", "").strip()
    if not secret:
        raise ConfigurationError("--callbacks needs ZEGO_CALLBACK_SECRET, by which callbacks are verified")
    router = CallbackRouter(secret=secret)
    router.on(AgentInstanceCreated, AgentInstanceDeleted, StreamTaskEvent)(upkeep.observe)
    await stack.enter_async_context(router)
    app = web.Application()
    app.router.add_post("/{path:.*}", router.aiohttp_handler)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    host, port = address
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port} for callbacks: {error.strerror or error}") from None
    bound = runner.addresses[0]
    return f"http://{bound[0]}:{bound[1]}/"


def _print(event: MaintenanceEvent, *, as_json: bool) -> None:
    if as_json:
        print_json(_line(event))
        return
    match event:
        case Gone():
            when = f"; recreated in {duration(event.delay)}, since it ended at once" if event.delay else "; recreated"
            text = f"gone     {event.key}  {event.made_id}{f' ({event.reason})' if event.reason else ''}{when}"
        case Outcome(status="done"):
            text = f"{event.origin or 'done':<8} {event.key}"
        case Outcome():
            text = f"{event.status:<8} {event.key}: {error_text(event)}"
        case Pruned():
            text = f"removed  {event.outcome.key}" if event.outcome.status == "done" else f"kept     {event.outcome.key}"
        case Warned():
            text = f"warning  {event.message}"
    print_text(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", hang=21)


def _line(event: MaintenanceEvent) -> dict[str, Any]:
    now = {"time": round(time.time(), 3)}
    match event:
        case Gone():
            return {"event": "gone", "key": event.key, "action": event.action, "id": event.made_id, "reason": event.reason} | {
                "delay": round(event.delay, 1),
                **now,
            }
        case Outcome():
            return outcome_line(event) | now
        case Pruned():
            return outcome_line(event.outcome) | {"event": "pruned"} | now
        case Warned():
            return {"event": "warning", "message": event.message} | now
