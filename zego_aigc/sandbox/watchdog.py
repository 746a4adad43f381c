"""Says so when a test blocks the event loop that its sandbox runs in, instead of letting every call time out.

A sandbox in the test's event loop cannot answer while that loop waits: for FastAPI's TestClient, whose app then calls the
sandbox, or for a blocking HTTP client. A thread looks for it, and answers what waits to be accepted with a refusal that
says what to do.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading
import uuid
from types import FrameType

import msgspec

__all__ = ["ADVICE", "Watchdog"]

ADVICE = (
    "the event loop that the sandbox runs in is blocked: something in the test waits without awaiting, such as a TestClient "
    "or a blocking HTTP client. Use the fixture zego_live_sandbox, whose sandbox has a thread of its own, or an async client"
)

POLL = 0.1
"""Seconds between two looks."""

LOOKS = 3
"""How many of them must find the loop in the same wait."""

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"

CODE = 100000011
"""Of the refusal: one that no client repeats."""

WAITING = ("threading.py", "concurrent/futures/_base.py", "queue.py", "socket.py", "ssl.py", "selectors.py", "subprocess.py")
"""Where a thread waits for others. A loop that computes, or is not given the processor, is none of these."""

LOOPS = ("asyncio/base_events.py", "asyncio/windows_events.py")
"""Who waits rightly in them: the loop itself."""


class Watchdog:
    """Watches one listening socket and the loop's thread.

    Args:
        listening: the sandbox's socket.
        thread_id: of the thread that the loop runs in.
    """

    def __init__(self, listening: socket.socket, thread_id: int) -> None:
        self._listening = listening
        self._thread_id = thread_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="zego_aigc sandbox watchdog", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        waits = 0
        frame: tuple[FrameType, int] | None = None
        while not self._over.wait(POLL):
            before, frame = frame, self._wait_of_loop()
            waits = waits + 1 if frame is not None and frame == before and self._somebody_calls() else 0
            if waits >= LOOKS:
                waits = 0
                self._refuse()
        del frame

    def _wait_of_loop(self) -> tuple[FrameType, int] | None:
        """Where the loop's thread waits for another; None if it does not."""
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - documented all the same
        if frame is None or not _file(frame).endswith(WAITING):
            return None
        caller = frame.f_back
        if caller is not None and _file(caller).endswith(LOOPS):
            return None
        return frame, frame.f_lasti

    def _somebody_calls(self) -> bool:
        try:
            return bool(select.select([self._listening], [], [], 0)[0])
        except (OSError, ValueError):  # closed meanwhile
            return False

    def _refuse(self) -> None:
        sys.stderr.write(f"zego_aigc sandbox: {ADVICE}\n")
        with contextlib.suppress(OSError):
            connection, _ = self._listening.accept()
            with connection:
                connection.settimeout(1.0)
                _read_request(connection)
                body = msgspec.json.encode({"Code": CODE, "Message": ADVICE, "RequestId": str(uuid.uuid4())})
                head = f"{HEAD}Content-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)


def _read_request(connection: socket.socket) -> None:
    """Take a request in; a client whose request is not read may not read the answer."""
    received = b""
    while b"\r\n\r\n" not in received and (data := connection.recv(65536)):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length and (data := connection.recv(65536)):
        body += data


def _file(frame: FrameType) -> str:
    return frame.f_code.co_filename.replace("\\", "/")
