"""A service that counts what arrives, behind a network that delays: a process of its own for ``test_arrivals.py``.

``python arrivals_server.py CERTIFICATE SEED`` writes one line of JSON, with the ports of the network's entrances (``http``,
``https``). Each is a TCP proxy: it stalls every new connection for 300 ms and delays everything that passes by up to 30 ms, in
either direction. Behind it, the service takes at most 10 requests in any second, both ends of which belong to it; refused ones
count too. Whoever writes to the ports ``http report`` and ``https report`` gets the times of arrival, the refusals, and by how
many seconds the machine let this process run late at most: so much longer than it meant to has the network delayed.
It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
import time

from benchmarks.arrivals import Punctuality
from benchmarks.counting import SlidingCount

STALL = 0.300
VARYING = 0.050

GRANTED = b'{"Code":0,"Message":"succeed","RequestId":"1","Data":{}}'
REFUSED = b'{"Code":400010009,"Message":"too many requests","RequestId":"2"}'


class Service:
    """Counts arrivals in a strict sliding window."""

    def __init__(self, punctuality: Punctuality) -> None:
        self.punctuality = punctuality
        self.count = SlidingCount()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                await reader.readexactly(length)
                body = GRANTED if self.count.admit(time.monotonic()) else REFUSED
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def report(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        count = self.count
        writer.write(json.dumps({"arrivals": count.arrivals, "refused": count.refused, "late": self.punctuality.late}).encode())
        writer.close()


class Network:
    """A TCP proxy in front of a port."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self.port = port
        self.chance = chance

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(STALL)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(self.carry(reader, there_writer), self.carry(there_reader, writer))

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await asyncio.sleep(self.chance.uniform(0, VARYING))
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


async def main(certificate: str, seed: int) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    ports: dict[str, int] = {}
    chance = random.Random(seed)
    punctuality = Punctuality()
    watching = asyncio.create_task(punctuality.watch())

    async def listen(handler: object, tls: ssl.SSLContext | None = None) -> int:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)  # type: ignore[arg-type]  # a coroutine function
        port: int = server.sockets[0].getsockname()[1]
        return port

    for scheme, tls in (("http", None), ("https", context)):
        service = Service(punctuality)
        ports[scheme] = await listen(Network(await listen(service.serve, tls), chance).serve)
        ports[f"{scheme} report"] = await listen(service.report)
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    watching.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
