"""(e) Fleets that grow: what an entry costs must not. It fails where it does, and in full size where a bound is exceeded.

Without a network: answers come from memory. Costs are CPU time of all threads, so that a busy machine does not matter much.
"""

from __future__ import annotations

import gc
import itertools
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.report import Table, Target, as_text
from benchmarks.scale import Unplugged, screens, write
from zego_aigc.client import Client
from zego_aigc.limits.local_limiter import LocalLimiter
from zego_aigc.provisioning import Fleet, Report, provision
from zego_aigc.provisioning.journal_reader import read_journal

STEP = 8
"""How many times larger the large fleet is. What is quadratic costs so much more an entry."""

MAX_GROWTH = 1.3
"""By how many times an entry of the large fleet may cost more than one of the small fleet, which bears what is done once."""


class Cost(NamedTuple):
    """What something cost."""

    cpu: float
    """Seconds of CPU."""
    seconds: float


class Stopwatch:
    """Measures since it was made."""

    def __init__(self) -> None:
        gc.collect()
        self._cpu, self._began = time.process_time(), time.perf_counter()

    def read(self) -> Cost:
        """What was used until now."""
        return Cost(time.process_time() - self._cpu, time.perf_counter() - self._began)


class Course(NamedTuple):
    """What the life of a fleet without dependents cost."""

    checked: Cost
    first_create: float
    """Seconds from the end of the check to the first create."""
    made: Cost
    """All of the first run."""
    resumed: Cost
    status: Cost


async def carry_out(client: Client, file: Path, journal: Path) -> tuple[Cost, Report]:
    """Provision; what the check cost, and how it ended."""
    watch = Stopwatch()
    async with provision(client, Fleet(file), journal=journal) as run:
        checked = watch.read()
        async for _ in run:
            pass
    return checked, run.report


async def course(folder: Path, count: int) -> Course:
    """Provision a fleet, then the same with three entries more, and ask how it stands."""
    file, journal = folder / f"{count}.jsonl", folder / f"{count}.journal"
    write(file, screens(count))
    pool = unplugged()
    async with pool, Client(1, "secret", pool=pool) as client:
        began, watch = time.perf_counter(), Stopwatch()
        checked, report = await carry_out(client, file, journal)
        assert report.done == count
        made = watch.read()
        first_create = pool.first_post - began - checked.seconds
        write(file, screens(count + 3))
        watch = Stopwatch()
        _, report = await carry_out(client, file, journal)
        assert (report.done, report.earlier) == (count + 3, count)
        resumed = watch.read()
    watch = Stopwatch()
    with read_journal(journal) as reading:
        assert sum(reading.counts().values()) == count + 3
    return Course(checked, first_create, made, resumed, watch.read())


async def hub(folder: Path, parents: int, dependents: int) -> Cost:
    """Parents that all fail, and dependents of all of them together, through one entry between."""
    file = folder / f"hub-{parents}.jsonl"
    failing = [{"Action": "RegisterAgent", "Key": f"p{n}", "Body": {"AgentId": f"p{n}"}} for n in range(parents)]
    between = {**next(screens(1)), "Key": "hub", "After": [entry["Key"] for entry in failing]}
    waiting = ({**entry, "After": ["hub"]} for entry in itertools.islice(screens(dependents + 1), 1, None))
    write(file, chained(failing, [between], waiting))
    logging.getLogger("zego_aigc").addHandler(logging.NullHandler())  # which would print each refusal
    pool = unplugged(refused="RegisterAgent")
    async with pool, Client(1, "secret", pool=pool) as client:
        watch = Stopwatch()
        _, report = await carry_out(client, file, file.with_suffix(".journal"))
    assert (report.failed, report.pending) == (parents, dependents + 1)
    return watch.read()


def chained(*parts: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One fleet of several parts."""
    return itertools.chain(*parts)


def unplugged(refused: str | None = None) -> Unplugged:
    """Answers from memory, under no limit to speak of."""
    return Unplugged(limiter=LocalLimiter(2000, window=0.02, guard=0.0), refused=refused)


def seconds_of_status(journal: Path) -> float:
    """How long the command takes, its start included."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "zego_aigc", "status", str(journal)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


async def run(*, quick: bool) -> list[Table]:
    """Measure, and end the process with an error where a bound is exceeded."""
    large = 8_000 if quick else 100_000
    parents, dependents = (400, 8_000) if quick else (1_000, 100_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await course(folder, 64)  # what is loaded and compiled once is no cost of an entry
        await hub(folder, 8, 64)
        courses = [await course(folder, size) for size in (large // STEP, large)]
        hubs = [await hub(folder, parents // step, dependents // step) for step in (STEP, 1)]
        status = 0.0 if quick else seconds_of_status(folder / f"{large}.journal")
    rows: list[list[str | float | None]] = []
    targets: list[Target] = []
    for what, small, big, entries in (
        ("checked", courses[0].checked, courses[1].checked, large),
        ("checked and made", courses[0].made, courses[1].made, large),
        ("run again with 3 left", courses[0].resumed, courses[1].resumed, large),
        ("asked how it stands", courses[0].status, courses[1].status, large),
        (f"dependents of {parents:,} entries that fail", hubs[0], hubs[1], dependents),
    ):
        each = small.cpu / (entries / STEP), big.cpu / entries
        rows.append([f"{entries:,} {what}", each[0] * 1e6, each[1] * 1e6, big.seconds])
        targets.append(Target(f"{what}: an entry of all, times one of an eighth", each[1] / each[0], MAX_GROWTH))
    if not quick:
        targets += [
            Target("us of CPU an entry to check it", courses[1].checked.cpu / large * 1e6, 60),
            Target("seconds from the check to the first create", courses[1].first_create, 1),
            Target("seconds to run again with 3 left", courses[1].resumed.seconds, 10),
            Target("seconds to show the status", status, 1),
        ]
    table = Table(
        part="growth",
        title=f"Fleets without a network: microseconds of CPU an entry, in an eighth of the fleet and in all {large:,}",
        columns=["", "us in an eighth", "us in all", "seconds for all"],
        rows=rows,
        targets=targets,
    )
    if missed := [target for target in targets if not target.met]:
        raise SystemExit(f"{as_text(table)}\n{len(missed)} bounds of fleets that grow are exceeded")
    return [table]
