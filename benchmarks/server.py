"""A server that answers at once, or after a while, and always the same: ``python -m benchmarks.server SECONDS``.

It parses no more of HTTP than it must, so that clients are measured and not it. Its port stands on its first line of output.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measure import pin

ANSWER = json.dumps(
    {
        "Code": 0,
        "Message": "success",
        "RequestId": "8825223157230377926",
        "Data": {
            "AgentInstanceId": "1912124734317838336",
            "DigitalHumanConfig": base64.b64encode(
                b'{"DigitalHumanId":"e583d35f-9793-42b4-ab1b-189a35b88d1c","Streams":[{"RoomId":"room_4711",'
                b'"StreamId":"agent_stream_4711","EncodeCode":"H264","ConfigId":"mobile"}]}'
            ).decode(),
        },
    }
).encode()

CHAT = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1750000000,
        "model": "small",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello there."}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24},
    }
).encode()

JOINED = json.dumps({"agent_id": "1NT29X10YHxxxxxWJOXLYHNYB", "create_ts": 1750000000, "status": "RUNNING"}).encode()

ROOM = b"\x0a\x0bRM_aaaaaaaa\x12\x06room_1"  # a livekit.Room with its sid and name


def _response(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(body), body)


_BY_PATH = {
    b"POST /v1/": _response(CHAT),
    b"POST /v2/": _response(JOINED),
    b"POST /twi": _response(ROOM, b"application/protobuf"),
}
_OURS = _response(ANSWER)


class Constant(asyncio.Protocol):
    """Answers each request on a connection, whatever it is."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer = buffer = self.buffer + data if self.buffer else data
        while (head := buffer.find(b"\r\n\r\n")) >= 0:
            lower = buffer[:head].lower()
            at = lower.find(b"\r\ncontent-length:")
            end = head + 4
            if at >= 0:
                end += int(lower[at + 17 :].partition(b"\r\n")[0])
            elif b"chunked" in lower:
                end = buffer.find(b"0\r\n\r\n", end) + 5
            if len(buffer) < end or end < head:
                return
            answer = _BY_PATH.get(buffer[:9], _OURS)
            self.buffer = buffer = buffer[end:]
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self.transport.write, answer)
            else:
                self.transport.write(answer)


async def serve(delay: float) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Constant(delay), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextlib.contextmanager
def running(delay: float = 0.0) -> Iterator[str]:
    """The address of such a server in a process of its own, on the other processor."""
    command = [sys.executable, "-m", "benchmarks.server", str(delay)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


if __name__ == "__main__":
    pin(1)
    asyncio.run(serve(float(sys.argv[1])))
