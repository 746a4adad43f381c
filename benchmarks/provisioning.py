"""(d) Provisioning: CPU and memory an entry, and how near a run comes to the time that the limits allow."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import crowd
from benchmarks.report import Table
from benchmarks.sandboxed import serving
from zego_aigc.aiagent import LLM, RegisterAgent
from zego_aigc.client import Client
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask
from zego_aigc.limits.local_limiter import LocalLimiter
from zego_aigc.provisioning import provision
from zego_aigc.schema.actions import Action

LIMIT = 10


def streams(count: int, name: str) -> Iterator[Action[Any]]:
    """Stream tasks, each in a room of its own."""
    for number in range(count):
        yield CreateDigitalHumanStreamTask.from_wire(
            {
                "DigitalHumanConfig": {"DigitalHumanId": "c4b56d5c-db98-4d91-86d4-5a97b507da97", "ConfigId": "mobile"},
                "RTCConfig": {"RoomId": f"{name}_{number}", "StreamId": f"{name}_stream_{number}"},
            }
        )


def agents(count: int, name: str) -> Iterator[Action[Any]]:
    """Agents."""
    for number in range(count):
        yield RegisterAgent(
            agent_id=f"{name}-{number}",
            name=f"Guide {number}",
            llm=LLM(url="https://llm.example.com/v1/chat/completions", api_key="key", model="small"),
        )


def resident() -> float | None:
    """MiB of memory that are resident."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4096 / 2**20
    except OSError:
        return None


async def carried_out(
    client: Client, entries: Iterator[Action[Any]], folder: Path, name: str
) -> tuple[float, float, float | None]:
    """Provision; returns seconds, CPU seconds, and MiB of memory that it grew by."""
    gc.collect()
    memory, cpu, start = resident(), time.process_time(), time.perf_counter()
    async with provision(client, entries, journal=folder / f"{name}.journal") as run:
        async for outcome in run:
            outcome.unwrap()
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    grown = resident()
    return seconds, used, None if memory is None or grown is None else grown - memory


async def run(*, quick: bool) -> list[Table]:
    """Measure."""
    rows: list[list[str | float | None]] = []
    counts = (100, 400) if quick else (1000, 4000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(0) as served:
            async with served.client(LocalLimiter(10_000)) as client:
                turns = streams(counts[0], "alone")
                calls = crowd(lambda: client.call(next(turns)), 10)
                cpu = time.process_time()
                await calls(counts[0])
                alone = (time.process_time() - cpu) / counts[0] * 1e6
                rows.append([f"{counts[0]:,} calls without provisioning", alone, None, None, None])
            # Another one, whose limiter has seen no foreground: for a minute after that the background leaves it room.
            async with served.client(LocalLimiter(10_000)) as client:
                for count in counts:
                    seconds, cpu, memory = await carried_out(client, streams(count, f"of{count}"), folder, str(count))
                    rows.append([f"{count:,} stream tasks, no limits", cpu / count * 1e6, memory, seconds, None])
        each = 30 if quick else 120
        with serving(LIMIT) as served:
            async with served.client() as client:
                both = (action for pair in zip(streams(each, "paced"), agents(each, "paced"), strict=True) for action in pair)
                seconds, cpu, memory = await carried_out(client, both, folder, "paced")
        rows.append([f"{each} stream tasks and {each} agents", cpu / each / 2 * 1e6, memory, seconds, (each - LIMIT) / LIMIT])
    return [
        Table(
            part="provisioning",
            title="Provisioning into a sandbox: the journal on disk, the sandbox on the other processor",
            columns=["", "CPU us an entry", "MiB grown", "seconds", "bound"],
            rows=rows,
        )
    ]
