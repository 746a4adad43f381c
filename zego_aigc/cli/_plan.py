"""``zego-aigc plan``."""

from __future__ import annotations

import argparse
import asyncio
import warnings
from collections.abc import Iterator, Sequence

import msgspec

from zego_aigc.cli._environment import client_from_options
from zego_aigc.cli._fleet import open_fleet
from zego_aigc.cli._format import duration
from zego_aigc.cli._output import command, print_error, print_json, print_text
from zego_aigc.errors import VendorAdvice
from zego_aigc.provisioning.fleet import Fleet
from zego_aigc.provisioning.planning import Plan, draw_up
from zego_aigc.provisioning.preflight import Rules

__all__ = ["run"]

MAX_LISTED = 5


def run(options: argparse.Namespace) -> int:
    """Print what provisioning would do; nothing is changed."""
    warnings.simplefilter("ignore", VendorAdvice)  # it is among the plan's warnings
    with open_fleet(options.fleet) as fleet:
        plan = asyncio.run(_plan(options, fleet))
    if options.json:
        print_json({"event": "plan", **msgspec.to_builtins(plan), "has_work": plan.has_work})
    else:
        for warning in plan.warnings:
            print_error(f"warning: {warning}")
        for line in _lines(plan, options.fleet, options.journal):
            print_text(line)
    return 4 if plan.has_work else 0


async def _plan(options: argparse.Namespace, fleet: Fleet) -> Plan:
    rules = Rules(extend=options.extend, seconds_a_call=1.05 / (options.rate or 10))
    if not options.live:
        return await draw_up(fleet, options.journal, rules=rules)
    async with client_from_options(options) as client:
        return await draw_up(fleet, options.journal, client=client, rules=rules)


def _lines(plan: Plan, fleet: str, journal: str) -> Iterator[str]:
    for action, keys in plan.to_make.items():
        yield f"+ {len(keys)} {action} to make: {_listed(keys)}"
    if plan.unclear:
        yield f"? {len(plan.unclear)} may have been made, and are looked into: {_listed(plan.unclear)}"
    for key in plan.gone or ():
        yield f"! {key} is gone at the service: --refresh recreates it"
    for one in plan.changed:
        ending = command(f"zego-aigc teardown {journal} --only {one.key!r}")
        way = "--update sends it" if one.way == "update" else f"{ending} ends it first"
        yield f"~ {one.key} has changed: {way}"
        for field in one.fields:
            yield f"    {field}"
    if plan.left:
        yield f"- {len(plan.left)} no longer in the fleet, which --prune removes: {_listed(plan.left)}"
    done = sum(plan.done.values())
    if done:
        yield f"  {done} done"
    if not plan.has_work:
        asked = " and there" if plan.gone is not None else ""
        yield f"nothing to do: all that {fleet} names is done{asked}"
        return
    if plan.instances:
        yield "  asks for " + ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in plan.instances.items())
    if plan.seconds:
        yield f"  takes about {duration(plan.seconds)} at the limits"


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - MAX_LISTED} more" if len(keys) > MAX_LISTED else ""
    return ", ".join(keys[:MAX_LISTED]) + more
