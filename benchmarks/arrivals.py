"""A service that counts arrivals behind a network that delays: ``python -m benchmarks.arrivals``, a process of its own.

It writes the ports of its entrances on the first line of its output, one for each contender. Each answers POSTs as the service
does, and GET /report with what was counted, as JSON: the times of arrival and how many were refused. It ends when its standard
input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.counting import SlidingCount, share, worst

GRANTED = b'{"Code":0,"Message":"succeed","RequestId":"1","Data":{"TaskList":[]}}'
REFUSED = b'{"Code":400010009,"Message":"too many requests","RequestId":"2"}'


class Way(NamedTuple):
    """How a network delays, in seconds, in either direction."""

    least: float
    jitter: float = 0.0
    spikes: float = 0.0
    """Share of what is delayed by 0.1 to 0.3 s more."""

    def delay(self, chance: random.Random) -> float:
        """Of one request or answer."""
        spike = chance.uniform(0.1, 0.3) if self.spikes and chance.random() < self.spikes else 0.0
        return self.least + chance.uniform(0, self.jitter) + spike


class Punctuality:
    """How late the machine lets this process run."""

    def __init__(self) -> None:
        self.late = 0.0

    async def watch(self) -> None:
        """Look at the clock again and again."""
        while True:
            due = time.monotonic() + 0.003
            await asyncio.sleep(0.003)
            self.late = max(self.late, time.monotonic() - due)


class Counter:
    """One entrance, with a strict sliding window of its own."""

    def __init__(self, way: Way, punctuality: Punctuality) -> None:
        self.way = way
        self._punctuality = punctuality
        self._count = SlidingCount()
        self._chance = random.Random(7)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
                await reader.readexactly(length)
                if head.startswith(b"GET /report"):
                    count = self._count
                    report = {"arrivals": count.arrivals, "refused": count.refused, "late": self._punctuality.late}
                    body = json.dumps(report).encode()
                else:
                    await asyncio.sleep(self.way.delay(self._chance))
                    body = GRANTED if self._count.admit(time.monotonic()) else REFUSED
                    await asyncio.sleep(self.way.delay(self._chance))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
                writer.write(body)
        writer.close()


class Counted(NamedTuple):
    """What one entrance has counted."""

    arrivals: list[float]
    refused: int
    late: float
    """Seconds by which the machine let the service run late, at most: so much more did the network delay."""

    @property
    def worst(self) -> int:
        """The most that arrived in any second."""
        return worst(self.arrivals)

    def share(self, skip: float) -> float:
        """Which share of the limit was used, without so many seconds at the beginning."""
        return share(self.arrivals, self.arrivals[0] + skip)


class Entrances(NamedTuple):
    """The service's ports, while it runs."""

    ports: list[int]

    def url(self, number: int) -> str:
        """Where one contender sends its requests."""
        return f"http://127.0.0.1:{self.ports[number]}/"

    def counted(self, number: int) -> Counted:
        """What arrived there."""
        with urllib.request.urlopen(f"{self.url(number)}report") as answer:
            return Counted(**json.load(answer))


@contextlib.contextmanager
def serving(way: Way, entrances: int) -> Iterator[Entrances]:
    """Run the service."""
    command = [sys.executable, "-m", "benchmarks.arrivals", json.dumps(way), str(entrances)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Entrances(json.loads(process.stdout.readline()))


async def main(way: Way, entrances: int) -> None:
    """What :func:`serving` runs."""
    punctuality = Punctuality()
    watching = asyncio.create_task(punctuality.watch())
    servers = [await asyncio.start_server(Counter(way, punctuality).serve, "127.0.0.1", 0) for _ in range(entrances)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    watching.cancel()
    os._exit(0)  # whatever is under way


if __name__ == "__main__":
    asyncio.run(main(Way(*json.loads(sys.argv[1])), int(sys.argv[2])))
