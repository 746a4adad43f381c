"""A server that misbehaves below HTTP: what it does with each request is a function of the test."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import msgspec

__all__ = ["Exchange", "http", "ok", "raw_server", "stop"]


class Exchange:
    """One request on one connection, and the means to answer it or not."""

    def __init__(self, head: str, body: bytes, writer: asyncio.StreamWriter, connection: int, number: int) -> None:
        self.head = head
        self.body = body
        self.writer = writer
        self.connection = connection
        self.number = number
        """Of this request among all that came, from 1."""
        self.method, self.target, _ = head.split("\r\n", 1)[0].split(" ")
        self.query = {key: values[0] for key, values in parse_qs(urlsplit(self.target).query).items()}

    async def send(self, answer: bytes) -> None:
        self.writer.write(answer)
        await self.writer.drain()

    def cut(self) -> None:
        """Break the connection at once."""
        self.writer.transport.abort()


def http(status: int, body: bytes, **headers: str) -> bytes:
    named = {"Content-Length": str(len(body)), **{name.replace("_", "-").title(): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def ok(data: object = None, **headers: str) -> bytes:
    envelope = {"Code": 0, "Message": "success", "RequestId": "r-1", "Data": data}
    return http(200, msgspec.json.encode(envelope), content_type="application/json", **headers)


@asynccontextmanager
async def raw_server(handle: Callable[[Exchange], Awaitable[None]], *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Yields the server's URL. `handle` is called for each request that has come whole; connections stay open after it."""
    connections: set[asyncio.StreamWriter] = set()
    tasks: set[asyncio.Task[None]] = set()
    counts = {"connections": 0, "requests": 0}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        connections.add(writer)
        counts["connections"] += 1
        mine = counts["connections"]
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                counts["requests"] += 1
                await handle(Exchange(head, body, writer, mine, counts["requests"]))
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    if tls is not None:
        # In debug mode the loop complains of every client that breaks a handshake off, some after this server is gone.
        asyncio.get_running_loop().set_debug(False)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await stop(server)
        for writer in connections:
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stop(server: asyncio.Server) -> None:
    """Accept nothing more, and close a server once it knows of all connections that were accepted.

    asyncio drops one unclosed whose server closes between the two, and a test fails for what becomes of the socket.
    """
    with suppress(NotImplementedError, RuntimeError):  # on Windows, and uvloop has no such gap
        for each in server.sockets:
            asyncio.get_running_loop().remove_reader(each.fileno())
    try:
        for _ in range(4):  # turns of the loop, from seeing a connection until its handler runs
            await asyncio.sleep(0)
    finally:
        server.close()
