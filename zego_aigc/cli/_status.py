"""``zego-aigc status``."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from zego_aigc.cli._environment import client_from_options
from zego_aigc.cli._failures import Failures
from zego_aigc.cli._format import counts as in_words
from zego_aigc.cli._listing import Entry, entry_of, print_csv, print_json_lines, print_table
from zego_aigc.cli._next import next_steps
from zego_aigc.cli._output import command, print_error, print_json, print_text
from zego_aigc.errors import ConfigurationError
from zego_aigc.provisioning.entry import whereabouts
from zego_aigc.provisioning.events import error_facts
from zego_aigc.provisioning.journal_file import Row
from zego_aigc.provisioning.journal_reader import Reading, read_journal
from zego_aigc.provisioning.presence import Presence, look

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print what a journal knows."""
    if options.csv and not options.all:
        raise ConfigurationError("--csv lists entries: add --all")
    if options.all and options.live:
        raise ConfigurationError("--all lists what the journal knows, and --live asks the service: use one of them")
    with read_journal(options.journal) as reading:
        if options.live:
            reading.refuse_ended_sandbox()
            return asyncio.run(_live(options, reading))
        counts = _counts(reading)
        if options.all:
            _list(options, reading)
        else:
            _summarize(options, reading, counts)
    return _exit_status(counts)


def _counts(reading: Reading) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for (action, status), count in reading.counts().items():
        counts.setdefault(action, Counter())[_shown(status, reading)] += count
    return counts


def _total(counts: dict[str, Counter[str]]) -> Counter[str]:
    total = Counter[str]()
    for counter in counts.values():
        total += counter
    return total


def _shown(status: str, reading: Reading) -> str:
    if status == "sent":
        return "unknown" if reading.in_use is False else "in flight"
    return status


def _exit_status(counts: dict[str, Counter[str]]) -> int:
    total = _total(counts)
    if total["failed"]:
        return 1
    return 3 if any(total[status] for status in ("unknown", "pending", "in flight", "made")) else 0


def _list(options: argparse.Namespace, reading: Reading) -> None:
    entries: Iterator[Entry] = (entry_of(row, _shown(row.status, reading)) for row in reading.rows("true"))
    if options.json:
        print_json_lines(entries)
    elif options.csv:
        print_csv(entries)
    else:
        print_table(entries)


def _summarize(options: argparse.Namespace, reading: Reading, counts: dict[str, Counter[str]]) -> None:
    show: _Show = _Json() if options.json else _Text()
    show.head(reading)
    show.counts(counts)
    ends: list[float] = []
    for row in reading.rows("status IN ('failed', 'sent', 'unknown', 'made')"):
        status = _shown(row.status, reading)
        show.row(row, status)
        if status == "unknown" and row.idle is not None and row.last_sent is not None:
            ends.append(row.last_sent + row.idle)
    show.end()
    if not options.json:
        until = time.strftime("by %Y-%m-%d %H:%M UTC", time.gmtime(max(ends) + 60)) if ends else None
        steps = next_steps(
            _total(counts),
            str(reading.path),
            running=reading.in_use is not False,
            until=until,
            in_sandbox=reading.facts.target is not None and reading.facts.target.sandbox is not None,
        )
        for step in steps:
            print_error(f"next: {step}")


async def _live(options: argparse.Namespace, reading: Reading) -> int:
    show: _Show = _Json() if options.json else _Text()
    counts: dict[str, Counter[str]] = {}
    async with client_from_options(options) as client:
        reading.require(client)
        show.head(reading)
        async for row, presence in look(client, reading):
            counts.setdefault(row.action, Counter())[presence.word] += 1
            show.presence(row, presence)
    show.counts(counts)
    show.end()
    gone = _total(counts)["gone"]
    if gone and not options.json:
        refresh = command(f"zego-aigc provision FLEET --journal {reading.path} --refresh")
        print_error(f"next: {refresh} recreates what is gone")
    return 1 if gone else 0


class _Show:
    def head(self, reading: Reading) -> None: ...

    def counts(self, counts: dict[str, Counter[str]]) -> None: ...

    def row(self, row: Row, status: str) -> None: ...

    def presence(self, row: Row, presence: Presence) -> None: ...

    def end(self) -> None: ...


class _Json(_Show):
    def head(self, reading: Reading) -> None:
        facts = reading.facts
        print_json(
            {
                "event": "journal",
                "path": str(reading.path),
                "target": msgspec.to_builtins(facts.target),
                "runs": facts.runs,
                "created": facts.created,
                "in_use": reading.in_use,
                "ended": reading.sandbox_ended,
            }
        )

    def counts(self, counts: dict[str, Counter[str]]) -> None:
        actions = {action: dict(counter) for action, counter in counts.items()}
        print_json({"event": "counts", "actions": actions, "total": dict(_total(counts))})

    def row(self, row: Row, status: str) -> None:
        print_json({"event": "entry", "key": row.key, "action": row.action, "status": status} | _facts(row))

    def presence(self, row: Row, presence: Presence) -> None:
        line: dict[str, Any] = {
            "event": "entry",
            "key": row.key,
            "action": row.action,
            "id": row.made_id,
            "live": presence.there,
            "state": presence.state,
        }
        if presence.error is not None:
            line["error"] = error_facts(presence.error)
        print_json(line)


class _Text(_Show):
    def __init__(self) -> None:
        self._failures = Failures()

    def head(self, reading: Reading) -> None:
        facts = reading.facts
        created = "" if facts.created is None else time.strftime(", begun %Y-%m-%d %H:%M:%S UTC", time.gmtime(facts.created))
        print_text(f"{reading.path}: {facts.target}{created}, {facts.runs} run{'s' if facts.runs != 1 else ''}")
        if reading.sandbox_ended:
            print_text("That sandbox has ended, and nothing of this exists any more.")
        elif reading.in_use:
            print_text("A run is going on.")
        elif reading.in_use is None:
            print_text("Whether a run is going on cannot be told: this account may not look. Ask as the account that runs it.")

    def counts(self, counts: dict[str, Counter[str]]) -> None:
        width = max(map(len, counts), default=0)
        for action, counter in counts.items():
            print_text(f"  {action:<{width}}  {in_words(counter)}")
        if not counts:
            print_text("  nothing")

    def row(self, row: Row, status: str) -> None:
        error = _facts(row).get("error", {})
        request_id = str(error.get("request_id") or "")
        why = " ".join(str(error.get("message", "no answer was noted")).split())
        if request_id:  # it differs from entry to entry, and the causes of many may be one
            why = why.replace(f" [RequestId {request_id}]", "")
        known = f"RequestId {request_id}" if request_id else ""
        self._failures.add(status, row.key, why, known or ("" if status == "failed" else _known(row)))

    def presence(self, row: Row, presence: Presence) -> None:
        if not presence.there or presence.notable:
            text = presence.detail or "the service has it no more"
            self._failures.add(presence.word, row.key, text, row.made_id or "")

    def end(self) -> None:
        for line in self._failures.lines():
            print_text(line)


def _facts(row: Row) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "attempts": row.attempts,
        "sent": row.last_sent,
        "stream_id": row.stream_id,
        "room_id": row.room_id,
        "agent_id": row.agent_id,
        "id": row.made_id,
    }
    if row.error is not None:
        facts["error"] = msgspec.json.decode(row.error)
    return {key: value for key, value in facts.items() if value is not None}


def _known(row: Row) -> str:
    """What is known of a request that may have been carried out."""
    parts = [] if row.last_sent is None else [time.strftime("sent at %H:%M:%S UTC", time.gmtime(row.last_sent))]
    if where := whereabouts(row.stream_id, row.room_id):
        parts.append(where)
    return ", ".join(parts)
