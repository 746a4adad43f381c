"""Fleets of any size: memory and CPU of a huge one, and the pace of one under the limits on a network that delays.

``python -m benchmarks.scale [--entries N] [--each N]``. The network of the first part is left out: answers come from memory.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import yarl

from benchmarks.sandboxed import Served, serving
from zego_aigc.client import Client
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask
from zego_aigc.limits.local_limiter import LocalLimiter
from zego_aigc.provisioning import Fleet, provision
from zego_aigc.transport.http import Answer
from zego_aigc.transport.pool import SessionPool
from zego_aigc.transport.signed_request import SignedRequest

KINDS = 3

MAX_RESIDENT = 128
"""MiB of memory that a fleet may take however long it is; half of that is the interpreter with the library."""


def entries(each: int) -> Iterator[dict[str, Any]]:
    """Agents, an instance of each that waits for it, and stream tasks."""
    for n in range(each):
        yield {"Action": "RegisterAgent", "Body": {"AgentId": f"agent-{n}", "Name": f"Agent {n}", "LLM": llm(n)}}
    for n in range(each):
        rtc = {"RoomId": f"r-{n}", "AgentStreamId": f"s-{n}", "AgentUserId": f"b-{n}", "UserStreamId": f"u-{n}"}
        body = {
            "AgentId": f"agent-{n}",
            "UserId": f"user-{n}",
            "RTC": rtc,
            "DigitalHuman": {"DigitalHumanId": "h", "ConfigId": "web"},
        }
        yield {"Action": "CreateDigitalHumanAgentInstance", "Body": body | {"AdvancedConfig": {"MaxIdleTime": 1800}}}
    yield from screens(each)


def screens(count: int) -> Iterator[dict[str, Any]]:
    """Stream tasks alone, none of which waits for another."""
    for n in range(count):
        body = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": f"hall-{n}", "StreamId": f"screen-{n}"}}
        yield {"Action": "CreateDigitalHumanStreamTask", "Body": body}


def llm(n: int) -> dict[str, Any]:
    """An LLM with a prompt of its own."""
    return {
        "Url": "https://llm.example/v1/chat/completions",
        "ApiKey": "key",
        "Model": "m",
        "SystemPrompt": f"You are guide {n}. " * 10,
    }


def write(file: Path, fleet: Iterator[dict[str, Any]]) -> None:
    """Write a fleet."""
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{json.dumps(entry)}\n" for entry in fleet)


# --- a huge fleet, without a network -----------------------------------------------------------------------------


class Unplugged(SessionPool):
    """Answers every request at once. One Action may be refused."""

    _numbers = itertools.count(1)

    def __init__(self, *, limiter: LocalLimiter, refused: str | None = None) -> None:
        super().__init__(limiter=limiter)
        self._refused = refused
        self.first_post: float = 0.0
        """When the first request came, by time.perf_counter()."""

    async def post(self, url: yarl.URL, request: SignedRequest, *, careful: bool) -> Answer:  # noqa: ARG002
        self.first_post = self.first_post or time.perf_counter()
        request.begun = True
        request._permit.departed()
        await asyncio.sleep(0)
        n = next(self._numbers)
        data = {"AgentInstanceId": str(n), "TaskId": str(n), "DigitalHumanConfig": "e30="}
        code = 410001008 if self._refused is not None and self._refused in request.query else 0
        return Answer(200, {}, json.dumps({"Code": code, "Message": "", "RequestId": str(n), "Data": data}).encode())

    async def date(self, url: yarl.URL, within: float) -> str | None:  # noqa: ARG002 - there is nobody to ask
        return None


async def huge(file: Path, count: int) -> None:
    """Provision without a network, in a process of its own."""
    pool = Unplugged(limiter=LocalLimiter(2000, window=0.02, guard=0.0))
    async with pool, Client(1, "secret", pool=pool) as client:
        task = CreateDigitalHumanStreamTask.from_wire(next(screens(1))["Body"])
        cpu = time.process_time()
        for _ in range(5000):
            await client.call(task)
        alone = (time.process_time() - cpu) / 5000
        cpu, began, done = time.process_time(), time.perf_counter(), 0
        async with provision(client, Fleet(file), journal=file.with_suffix(".journal")) as run:
            async for outcome in run:
                done += outcome.status == "done"
        used = (time.process_time() - cpu) / count
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        assert done == count, f"{done} of {count}"
        print(f"{count:,} {file.stem}, in {time.perf_counter() - began:.0f} s:")
        print(f"  CPU: {(used - alone) * 1e6:.0f} us an entry, beside {alone * 1e6:.0f} us of a call without a network")
        print(f"  memory: {peak:.0f} MiB resident at most, the interpreter included")
        if peak > MAX_RESIDENT:
            raise SystemExit(f"that is more than {MAX_RESIDENT} MiB, which a fleet of any size may take")


# --- under the limits --------------------------------------------------------------------------------------------


async def provision_all(served: Served, file: Path) -> float:
    """Provision at the limits; seconds."""
    async with served.client() as client, provision(client, Fleet(file), journal=file.with_suffix(".journal")) as run:
        async for outcome in run:
            outcome.unwrap()
    return run.report.seconds


def paced(folder: Path, each: int) -> None:
    """Provision at 10 calls a second for each Action, on a network that delays each by 0 to 50 ms."""
    file = folder / "paced.jsonl"
    write(file, entries(each))
    with serving(10) as served:
        fault = {"Fault": "latency", "With": {"seconds": 0.0, "jitter": 0.05}}
        headers = {"Content-Type": "application/json"}
        urlopen(Request(f"{served.url}/_sandbox/faults", json.dumps(fault).encode(), headers)).close()
        seconds = asyncio.run(provision_all(served, file))
        with urlopen(f"{served.url}/_sandbox/state") as answer:
            state = json.load(answer)
    times = [call["Time"] for call in state["calls"]]
    makespan, bound = max(times) - min(times), (each - 10) / 10
    print(f"{each} entries of each of {KINDS} Actions, delayed by 0 to 50 ms on the way:")
    print(f"  makespan: {makespan:.2f} s, {makespan / bound:.3f} times the bound of {bound:.1f} s ({seconds:.2f} s in all)")
    print(f"  refused: {len(state['refused'])}{''.join(f' {call}' for call in state['refused'][:3])}")


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--entries", type=int, default=200_000, help="of the huge fleet")
    parser.add_argument("--each", type=int, default=300, help="of each Action, under the limits")
    parser.add_argument("--huge", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.huge:
        asyncio.run(huge(Path(options.huge), options.entries))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.entries:
            each = options.entries // KINDS
            for name, fleet in (
                ("stream tasks", screens(KINDS * each)),
                ("entries, a third of them waiting for another third", entries(each)),
            ):
                file = folder / f"{name}.jsonl"
                write(file, fleet)
                command = [sys.executable, "-m", "benchmarks.scale", "--huge", str(file), "--entries", str(KINDS * each)]
                subprocess.run(command, check=True)
        if options.each:
            paced(folder, options.each)
    return 0


if __name__ == "__main__":
    sys.exit(main())
