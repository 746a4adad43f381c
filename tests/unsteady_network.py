"""A network between a client and a server that can go away and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from raw_server import stop

from benchmarks.ports import reserved_port

__all__ = ["UnsteadyNetwork", "unsteady_network"]


class UnsteadyNetwork:
    """Forwards connections to a server, until it is taken down: then open ones break and new ones are refused."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._target = parts.hostname or "", parts.port
        self._port = reserved_port()  # also while it is down
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """What to connect to instead of the server."""
        return f"http://{self._host}:{self._port}"

    async def up(self) -> None:
        """Forward connections from now on."""
        self._server = await asyncio.start_server(self._forward, self._host, self._port)

    async def down(self) -> None:
        """Break all connections, and refuse new ones."""
        assert self._server is not None
        await stop(self._server)
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def gone_for(self, seconds: float) -> None:
        """Be down for so long."""
        await self.down()
        await asyncio.sleep(seconds)
        await self.up()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        there, back = await asyncio.open_connection(self._host, self._target)
        if writer not in self._writers:  # it was taken down meanwhile
            back.transport.abort()
            return
        self._writers.add(back)
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


@asynccontextmanager
async def unsteady_network(url: str) -> AsyncIterator[UnsteadyNetwork]:
    network = UnsteadyNetwork(url)
    await network.up()
    try:
        yield network
    finally:
        await network.down()
