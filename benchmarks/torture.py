"""Provision a fleet while its process is killed again and again: ``python -m benchmarks.torture [--kills N] [--seed N]``.

A sandbox in a process of its own outlives it all, loses answers, and is the judge in the end: every agent and stream task
exists exactly once and the journal knows its id; of the instances, those live are those done and some of those unknown,
none twice; and no call was ever refused as too fast.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

AGENT_ACTIONS = ("CreateAgentInstance", "CreateDigitalHumanAgentInstance")
LOSSY = ("RegisterAgent", *AGENT_ACTIONS, "CreateDigitalHumanStreamTask")
LONG = {"AdvancedConfig": {"MaxIdleTime": 1800}}


class Verdict(NamedTuple):
    """What the sandbox says in the end."""

    entries: int
    kills: int
    duplicates: int
    """Things that exist, or were made, more than once."""
    forgotten: int
    """Things that exist and that the journal does not know, or knows otherwise."""
    missing: int
    """Things that do not exist though the journal calls them done."""
    too_fast: int
    """Calls that the sandbox refused for their rate."""
    unknown: int
    """Instances left unknown, as they must be where an answer was lost."""
    left: int
    """Things that remained after the teardown, unknown ones apart."""
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.duplicates or self.forgotten or self.missing or self.too_fast or self.left)


def fleet(size: int) -> Iterator[dict[str, Any]]:
    """As many agents, digital humans and stream tasks, and a third as many voices."""
    for n in range(size):
        yield {"Action": "RegisterAgent", "Body": {"AgentId": f"agent-{n}", "Name": f"Agent {n}"}}
        yield {
            "Action": "CreateDigitalHumanAgentInstance",
            "Body": _instance(n, "d") | {"DigitalHuman": {"DigitalHumanId": "h"}},
        }
        yield {
            "Action": "CreateDigitalHumanStreamTask",
            "Body": {
                "DigitalHumanConfig": {"DigitalHumanId": "h"},
                "RTCConfig": {"RoomId": f"hall-{n}", "StreamId": f"screen-{n}"},
            },
        }
        if n % 3 == 0:
            yield {"Action": "CreateAgentInstance", "Body": _instance(n, "v")}


def _instance(n: int, kind: str) -> dict[str, Any]:
    rtc = {
        key: f"{kind}{name}-{n}"
        for key, name in (("RoomId", "r"), ("AgentStreamId", "s"), ("AgentUserId", "b"), ("UserStreamId", "u"))
    }
    return {"AgentId": f"agent-{n}", "UserId": f"user-{n}", "RTC": rtc, **LONG}


# --- the sandbox, which is started by this very file -------------------------------------------------------------


async def serve(seed: int) -> None:
    """A sandbox that loses answers."""
    from zego_aigc.sandbox import Sandbox

    async with Sandbox(quota=None, history=1_000_000) as sandbox:
        sandbox.faults.seed(seed)
        sandbox.faults.on(*LOSSY).chance(0.04).cut_after_work()
        sandbox.faults.on(*LOSSY).chance(0.02).cut_before_work()
        sandbox.faults.on("DeleteAgentInstance", "StopDigitalHumanStreamTask", "UnregisterAgent").chance(0.05).cut_after_work()
        sandbox.faults.everywhere().latency(0.005, jitter=0.04)
        print("READY", sandbox.url, sandbox.app_id, sandbox.server_secret, flush=True)
        await asyncio.get_running_loop().create_future()


@contextmanager
def sandbox(seed: int) -> Iterator[dict[str, str]]:
    """The environment that leads to a sandbox of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.torture", "--serve", str(seed)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        _, url, app_id, secret = process.stdout.readline().split()
        yield os.environ | {
            "ZEGO_APP_ID": app_id,
            "ZEGO_SERVER_SECRET": secret,
            "ZEGO_AIAGENT_URL": url,
            "ZEGO_DIGITALHUMAN_URL": url,
        }
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def state(environment: dict[str, str], what: str = "state") -> Any:
    """What the sandbox knows."""
    with urllib.request.urlopen(f"{environment['ZEGO_AIAGENT_URL']}/_sandbox/{what}", timeout=30) as answer:
        return json.load(answer)


# --- the torture -------------------------------------------------------------------------------------------------


def zego_aigc(*arguments: str | Path) -> list[str]:
    """The command line, by the interpreter that runs this."""
    return [sys.executable, "-m", "zego_aigc", *map(str, arguments)]


def run_killed(command: Sequence[str], environment: dict[str, str], delay: float | None) -> int | None:
    """Run a command and kill it after a while. Its exit status, or None if it was killed."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, errors = process.communicate(timeout=delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return None
    if process.returncode not in {0, 1, 3}:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors}")
    return process.returncode


def tear_last_write(journal: Path, dice: random.Random) -> None:
    """As when the power goes: a beginning of what was just being appended is on the disk, and no more."""
    log = journal.with_name(f"{journal.name}-wal")
    if log.exists() and log.stat().st_size:
        with log.open("ab") as file:
            file.write(dice.randbytes(dice.randrange(1, 6000)))


def torture(size: int, kills: int, seed: int, *, quiet: bool = False) -> Verdict:
    """Provision and tear down a fleet in spite of so many kills."""
    began = time.monotonic()
    dice = random.Random(seed)
    killed = 0
    with tempfile.TemporaryDirectory() as directory, sandbox(seed) as environment:
        file, journal = Path(directory, "fleet.jsonl"), Path(directory, "fleet.journal")
        entries = list(fleet(size))
        file.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")
        provision = zego_aigc("provision", file, "--journal", journal, "--json")
        mark = kills * 3 // 4
        while killed < mark:
            if run_killed(provision, environment, _moment(dice)) is None:
                killed += 1
                if dice.random() < 0.3:
                    tear_last_write(journal, dice)
            elif not quiet:
                print(f"provisioned after {killed} kills; the rest of them meets a fleet that is complete", flush=True)
        while run_killed(provision, environment, None) == 1:
            pass
        verdict = judge(journal, entries, environment)
        remove = zego_aigc("teardown", journal, "--json")
        while killed < kills:
            if run_killed(remove, environment, _moment(dice)) is None:
                killed += 1
            else:
                break
        while run_killed(remove, environment, None) == 1:
            pass
        left = state(environment)
        live = len(left["agents"]) + len(left["tasks"]) + len(left["instances"])
        return verdict._replace(
            entries=len(entries),
            kills=killed,
            left=max(0, live - verdict.unknown),
            too_fast=too_fast(environment),
            seconds=time.monotonic() - began,
        )


def _moment(dice: random.Random) -> float:
    """When to kill: now and then while it starts, mostly while calls are under way."""
    return dice.uniform(0.2, 0.6) if dice.random() < 0.2 else dice.uniform(0.6, 2.0)


def judge(journal: Path, entries: Sequence[dict[str, Any]], environment: dict[str, str]) -> Verdict:
    """Compare what lives with what the journal says."""
    with closing(sqlite3.connect(journal)) as connection:
        connection.row_factory = sqlite3.Row
        rows = {row["key"]: row for row in connection.execute("SELECT * FROM entries")}
    assert len(rows) == len(entries)
    seen = state(environment)
    live: dict[str, list[str]] = {}
    for agent in seen["agents"]:
        live.setdefault(f"agent {agent['AgentId']}", []).append(agent["AgentId"])
    for instance in seen["instances"]:
        live.setdefault(f"stream {instance['AgentStreamId']}", []).append(instance["AgentInstanceId"])
    for task in seen["tasks"]:
        live.setdefault(f"stream {task['StreamId']}", []).append(task["TaskId"])
    duplicates = sum(len(found) - 1 for found in live.values()) + made_twice(environment)
    forgotten = missing = unknown = 0
    for row in rows.values():
        name = f"agent {row['agent_id']}" if row["action"] == "RegisterAgent" else f"stream {row['stream_id']}"
        found = live.pop(name, [])
        if row["status"] == "done":
            missing += row["made_id"] not in found
            forgotten += bool(set(found) - {row["made_id"]})
        elif row["status"] == "unknown" and row["action"] in AGENT_ACTIONS:
            unknown += 1
        else:
            missing += 1
    forgotten += len(live)
    return Verdict(0, 0, duplicates, forgotten, missing, 0, unknown, 0, 0.0)


def made_twice(environment: dict[str, str]) -> int:
    """How many creations were carried out more than once, going by what the sandbox remembers."""
    made: Counter[str] = Counter()
    for action in LOSSY:
        for call in state(environment, f"calls?action={action}&code=0&limit=1000000")["calls"]:
            if "cut_before_work" not in call["Faults"]:
                made[f"{action} {json.dumps(call['Body'], sort_keys=True)}"] += 1
    return sum(count - 1 for count in made.values())


def too_fast(environment: dict[str, str]) -> int:
    """How many calls were refused for their rate."""
    return sum(call["Code"] in {410001029, 400010009} for call in state(environment)["refused"])


def main() -> int:
    """Torture, and print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--size", type=int, default=100, help="agents; the fleet has three and a third times as many entries")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", type=int, metavar="SEED", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(options.serve))
        return 0
    verdict = torture(options.size, options.kills, options.seed)
    for name, value in verdict._asdict().items():
        print(f"{name:>10}: {value:.1f}" if isinstance(value, float) else f"{name:>10}: {value}")
    print("every promise was kept" if verdict.good else "A PROMISE WAS BROKEN")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
