"""Provision a fleet while its process meets every end there is: ``python -m benchmarks.torture [--ends N] [--seed N]``.

It is killed, interrupted once and twice, hung up on, its terminal is closed, its last write is torn, its journal is copied to
another place, its clock is wrong or steps, and the service answers 503 for a while. A sandbox in a process of its own outlives
it all, loses answers, and is the judge in the end: every agent and stream task exists exactly once and the journal knows its
id; of the instances, those live are those done and some of those unknown, none twice; and no call was refused as too fast.

At last a journal is removed while a run goes on: that ends at once, and lists all that lives.
"""

from __future__ import annotations

import argparse
import asyncio
import enum
import json
import os
import pty
import random
import shutil
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
ENDING = ("DeleteAgentInstance", "StopDigitalHumanStreamTask", "UnregisterAgent")
COMPLETE_RUNS = 3
"""So many runs that are over before their end comes show that there is nothing left to do in which it could come."""
RUNS_TO_THE_END = 20
"""So often is a command run again that says that something is left for its next run."""
LONG = {"AdvancedConfig": {"MaxIdleTime": 1800}}


class Verdict(NamedTuple):
    """What the sandbox says in the end."""

    entries: int
    ends: int
    """Of its process."""
    duplicates: int
    """Things that exist, or were made, more than once."""
    forgotten: int
    """Things that exist and that the journal does not know, or knows otherwise."""
    missing: int
    """Things that do not exist though the journal calls them done."""
    too_fast: int
    """Calls that the sandbox refused for their rate."""
    unknown: int
    """Entries left unknown: instances whose answer was lost; and tasks, if the clock was wrong and the service had not yet told
    its own."""
    left: int
    """Things that remained after the teardown, unknown ones apart."""
    unlisted: int
    """Things that a run whose journal was removed made and did not list."""
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.duplicates or self.forgotten or self.missing or self.too_fast or self.left or self.unlisted)


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


def order(environment: dict[str, str], what: str, **fields: Any) -> None:
    """Have the sandbox do something."""
    url, headers = f"{environment['ZEGO_AIAGENT_URL']}/_sandbox/{what}", {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(fields).encode(), headers, method="POST" if fields else "DELETE")
    urllib.request.urlopen(request, timeout=30).close()


def lose_answers(environment: dict[str, str]) -> None:
    """A network that loses some answers and requests, and delays all."""
    order(environment, "faults", Fault="cut_after_work", Actions=list(LOSSY), Chance=0.04)
    order(environment, "faults", Fault="cut_before_work", Actions=list(LOSSY), Chance=0.02)
    order(environment, "faults", Fault="cut_after_work", Actions=list(ENDING), Chance=0.05)
    order(environment, "faults", Fault="latency", With={"seconds": 0.005, "jitter": 0.04})


# --- the ends ----------------------------------------------------------------------------------------------------

CLOCK = """
import os, threading, time
by, after = map(float, os.environ.get("TORTURE_CLOCK", "0,0").split(","))
real, began = time.time, time.monotonic()
time.time = lambda: real() + (by if time.monotonic() - began >= after else 0.0)
"""
"""What Python runs first: this machine's clock is wrong from the start, or steps after some seconds."""


class End(enum.Enum):
    """How a process ends, or what happens to it meanwhile."""

    KILLED = "killed"
    INTERRUPTED = "interrupted"
    INTERRUPTED_TWICE = "interrupted twice"
    HUNG_UP = "hung up"
    CLOSED_TERMINAL = "terminal closed"
    OUTAGE = "503 for a while"


def zego_aigc(*arguments: str | Path) -> list[str]:
    """The command line, by the interpreter that runs this."""
    return [sys.executable, "-m", "zego_aigc", *map(str, arguments)]


def run_to_the_end(command: Sequence[str], environment: dict[str, str]) -> None:
    """Run a command until it has nothing left to do."""
    for _ in range(RUNS_TO_THE_END):
        ran = subprocess.run(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if ran.returncode in {0, 3}:
            return
        if ran.returncode != 1:
            break
    raise RuntimeError(f"{' '.join(command)} ended with {ran.returncode}: {ran.stderr}")


def run_until(command: Sequence[str], environment: dict[str, str], delay: float, end: End) -> bool:
    """Run a command until it meets its end after a while; False if it had ended before."""
    main_end, terminal = pty.openpty() if end is End.CLOSED_TERMINAL else (-1, subprocess.DEVNULL)
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal if main_end >= 0 else errors,
        start_new_session=main_end >= 0,
    )
    if main_end >= 0:
        os.close(terminal)
    met = False
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        met = True
        if end is End.OUTAGE:
            order(environment, "faults", Fault="answer", With={"status": 503, "body": "<html>503</html>"})
            time.sleep(delay)
            order(environment, "faults")
            lose_answers(environment)
        elif end is End.KILLED:
            process.kill()
        elif end is End.CLOSED_TERMINAL:
            os.close(main_end)
            main_end = -1
            process.send_signal(signal.SIGHUP)
        else:
            process.send_signal(signal.SIGHUP if end is End.HUNG_UP else signal.SIGINT)
            if end is End.INTERRUPTED_TWICE:
                time.sleep(0.02)
                process.send_signal(signal.SIGINT)
    try:
        status = process.wait(300)
        if status > 0 and status not in {1, 3}:  # a signal may come before the command is there to take it
            errors.seek(0)
            said = errors.read().decode(errors="replace")
            raise RuntimeError(f"{' '.join(command)} ended with {status} when it was {end.value}: {said}")
    finally:
        errors.close()
        process.kill()
        process.wait()
        if main_end >= 0:
            os.close(main_end)
    return met


def tear_last_write(journal: Path, dice: random.Random) -> None:
    """As when the power goes: a beginning of what was just being appended is on the disk, and no more."""
    log = journal.with_name(f"{journal.name}-wal")
    if log.exists() and log.stat().st_size:
        with log.open("ab") as file:
            file.write(dice.randbytes(dice.randrange(1, 6000)))


def carry_over(journal: Path, number: int, environment: dict[str, str]) -> Path:
    """The journal in another place, all its files; without its log it must be refused."""
    other = journal.with_name(f"copy-{number}.journal")
    for suffix in ("", "-wal", "-shm", "-journal"):
        if (file := Path(f"{journal}{suffix}")).exists():
            shutil.copy(file, f"{other}{suffix}")
    log = Path(f"{other}-wal")
    if log.exists() and log.stat().st_size:
        alone = journal.with_name("alone.journal")
        shutil.copy(journal, alone)
        status = subprocess.run(zego_aigc("status", alone), env=environment, capture_output=True, check=False).returncode
        if status != 2 and contents(alone) != contents(journal):
            raise RuntimeError(f"a journal without its log was taken for whole: {status}")
    return other


def contents(journal: Path) -> list[Any]:
    """The rows of a journal, read from a copy."""
    with tempfile.TemporaryDirectory() as directory:
        for suffix in ("", "-wal", "-shm", "-journal"):
            if (file := Path(f"{journal}{suffix}")).exists():
                shutil.copy(file, f"{directory}/j{suffix}")
        with closing(sqlite3.connect(f"{directory}/j")) as connection:
            return connection.execute("SELECT * FROM entries ORDER BY seq").fetchall()


# --- the torture -------------------------------------------------------------------------------------------------


class Torture:
    """A fleet, its journal, and a process that is ended again and again."""

    def __init__(self, directory: Path, environment: dict[str, str], dice: random.Random) -> None:
        self.journal = directory / "fleet.journal"
        self.ends = 0
        self._environment = environment
        self._dice = dice
        (directory / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")

    def meet(self, command: Sequence[str | Path], end: End) -> bool:
        """Run a command on the journal until it meets an end; False if it had ended before."""
        clock = self._dice.choice(["0,0"] * 5 + ["10,0", "-10,0", "10,0.8", "-3600,1"])
        environment = self._environment | {"PYTHONPATH": str(self.journal.parent), "TORTURE_CLOCK": clock}
        met = run_until(zego_aigc(*command, self.journal, "--json"), environment, self._moment(), end)
        self.ends += met
        if met and self._dice.random() < 0.3:
            tear_last_write(self.journal, self._dice)
        if met and self._dice.random() < 0.15 and self.journal.exists():
            self.journal = carry_over(self.journal, self.ends, environment)
        return met

    def _moment(self) -> float:
        """When to end: now and then while it starts, mostly while calls are under way."""
        return self._dice.uniform(0.1, 0.4) if self._dice.random() < 0.2 else self._dice.uniform(0.4, 1.0)


def torture(size: int, ends: int, seed: int, *, quiet: bool = False) -> Verdict:
    """Provision and tear down a fleet in spite of so many ends."""
    began = time.monotonic()
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory, sandbox(seed) as environment:
        lose_answers(environment)
        file = Path(directory, "fleet.jsonl")
        entries = list(fleet(size))
        file.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")
        tortured = Torture(Path(directory), environment, dice)
        provision: list[str | Path] = ["provision", file, "--journal"]
        # Each end once, in any order, and then what comes; kills most of all.
        kinds = dice.sample(list(End), len(End)) + dice.choices(list(End), [5, 1, 1, 1, 1, 1], k=10 * ends)
        complete = 0
        while tortured.ends < ends * 3 // 4 and complete < COMPLETE_RUNS:
            if not tortured.meet(provision, kinds.pop(0)):
                complete += 1
                if not quiet:
                    print(f"provisioned after {tortured.ends} ends", flush=True)
        run_to_the_end(zego_aigc(*provision, tortured.journal, "--json"), environment)
        verdict = judge(tortured.journal, entries, environment)
        while tortured.ends < ends and kinds and tortured.meet(["teardown"], kinds.pop(0)):
            pass
        run_to_the_end(zego_aigc("teardown", tortured.journal, "--json"), environment)
        left = state(environment)
        live = len(left["agents"]) + len(left["tasks"]) + len(left["instances"])
        return verdict._replace(
            entries=len(entries),
            ends=tortured.ends,
            left=max(0, live - verdict.unknown),
            too_fast=too_fast(environment),
            unlisted=removed_journal(size, seed),
            seconds=time.monotonic() - began,
        )


def removed_journal(size: int, seed: int) -> int:
    """A run whose journal is removed: how much of what lives it does not list."""
    with tempfile.TemporaryDirectory() as directory, sandbox(seed) as environment:
        file, journal = Path(directory, "fleet.jsonl"), Path(directory, "fleet.journal")
        file.write_text("".join(f"{json.dumps(entry)}\n" for entry in fleet(max(size, 20))), encoding="utf-8")
        command = zego_aigc("provision", file, "--journal", journal, "--plain")
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not state(environment)["tasks"]:
            time.sleep(0.05)
        journal.unlink()
        _, errors = process.communicate(timeout=60)
        if process.returncode != 1:
            raise RuntimeError(f"a run without its journal ended with {process.returncode}: {errors}")
        listed = {line.split()[-1] for line in errors.splitlines()[:-1] if line}
        seen = state(environment)
        live = [(seen["agents"], "AgentId"), (seen["instances"], "AgentInstanceId"), (seen["tasks"], "TaskId")]
        return len({one[name] for those, name in live for one in those} - listed)


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
        elif row["status"] == "unknown" and row["action"] != "RegisterAgent":
            unknown += 1
        else:
            missing += 1
    forgotten += len(live)
    return Verdict(0, 0, duplicates, forgotten, missing, 0, unknown, 0, 0, 0.0)


def made_twice(environment: dict[str, str]) -> int:
    """How many creations were carried out more than once, going by what the sandbox remembers."""
    made: Counter[str] = Counter()
    for action in LOSSY:
        for call in state(environment, f"calls?action={action}&code=0&limit=1000000")["calls"]:
            if not {"cut_before_work", "answer"} & set(call["Faults"]):
                made[f"{action} {json.dumps(call['Body'], sort_keys=True)}"] += 1
    return sum(count - 1 for count in made.values())


def too_fast(environment: dict[str, str]) -> int:
    """How many calls were refused for their rate."""
    return sum(call["Code"] in {410001029, 400010009} for call in state(environment)["refused"])


def main() -> int:
    """Torture, and print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    parser.add_argument("--ends", type=int, default=60)
    parser.add_argument("--size", type=int, default=100, help="agents; the fleet has three and a third times as many entries")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", type=int, metavar="SEED", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(options.serve))
        return 0
    verdict = torture(options.size, options.ends, options.seed)
    for name, value in verdict._asdict().items():
        print(f"{name:>10}: {value:.1f}" if isinstance(value, float) else f"{name:>10}: {value}")
    print("every promise was kept" if verdict.good else "A PROMISE WAS BROKEN")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
