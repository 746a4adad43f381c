"""Callbacks as the vendor sends them: signed, in order per instance, with five more attempts."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from zego_aigc.sandbox.guard import is_loopback_url
from zego_aigc.sandbox.listeners import Listener
from zego_aigc.schema.redaction import MASK

if TYPE_CHECKING:
    from zego_aigc.callbacks.events import Event
    from zego_aigc.sandbox.clock import Clock
    from zego_aigc.sandbox.ids import Ids
    from zego_aigc.transport.task_scope import TaskScope

__all__ = ["RETRY_DELAYS", "Delivery", "DeliveryAttempt", "Outbox", "sign"]

RETRY_DELAYS = (2, 4, 8, 16, 32)
"""Seconds from an attempt that was not answered with a 2xx to the next one; after the last the event is lost."""

RECEIVER_TIMEOUT = 5.0
"""Seconds of real time that a receiver may take to answer."""

_encode = msgspec.json.Encoder().encode


def sign(secret: str, timestamp: str, nonce: str) -> str:
    """The vendor's callback signature: SHA-1 over the three strings in bytewise order. The body does not enter it."""
    return hashlib.sha1(b"".join(sorted(map(str.encode, (secret, timestamp, nonce)))), usedforsecurity=False).hexdigest()


class DeliveryAttempt(msgspec.Struct, frozen=True):
    """One POST of a callback."""

    time: float
    """Unix seconds on the sandbox's clock; for a retry, the moment it was due."""
    status: int | None
    """The HTTP status answered, or None where no answer came."""
    error: str = ""
    """Why no answer came."""


class Delivery(msgspec.Struct, kw_only=True):
    """A callback and what became of it."""

    about: str
    """The id of the instance or task; the callbacks about one are sent one after the other."""
    event: str
    """The event's name, or the Digital Human EventType as text."""
    url: str | None
    """The address it goes to; None if the app has none, and then it is only recorded."""
    body: dict[str, Any]
    """As sent, signed."""
    number: int = 0
    """Counts the callbacks, from 1 on."""
    time: float = 0.0
    """When the event happened: Unix seconds on the sandbox's clock."""
    state: str = "pending"
    """``pending``, ``delivered``, ``lost`` after the last attempt, ``unaddressed`` without a URL, or ``blocked``: its URL
    leaves this machine and the account's ``remote_callbacks`` is off."""
    content: bytes = b""
    """The body in JSON, while it is still to be sent."""
    attempts: list[DeliveryAttempt] = msgspec.field(default_factory=list[DeliveryAttempt])
    """What was tried, with what came back, oldest first."""

    def to_full_json(self) -> dict[str, Any]:
        """With the body, whose signature is masked: it would let its reader send callbacks of their own."""
        return {**self.to_json(), "Body": {**self.body, "Signature": MASK}}

    def to_json(self) -> dict[str, Any]:
        """In a line, for the sandbox's page."""
        return {
            "Number": self.number,
            "Time": self.time,
            "Event": self.event,
            "Url": self.url,
            "State": self.state,
            "About": self.about,
            "Attempts": [{"Time": tried.time, "Status": tried.status, "Error": tried.error} for tried in self.attempts],
        }


class Outbox:
    """Sends callbacks and remembers them.

    Args:
        clock: whose time the retries follow.
        scope: where the sending tasks live.
        ids: makes nonces.
        limit: how many deliveries are remembered.
    """

    def __init__(self, clock: Clock, scope: TaskScope, ids: Ids, limit: int = 10_000) -> None:
        self.deliveries: deque[Delivery] = deque(maxlen=limit)
        self._clock = clock
        self._scope = scope
        self._ids = ids
        self._queues: dict[str, deque[tuple[Delivery, float]]] = {}
        self._listeners: list[tuple[int, Listener]] = []  # with the AppId whose callbacks they hear
        self._session: aiohttp.ClientSession | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.total: int = 0

    def post(
        self,
        about: str,
        event: str,
        url: str | None,
        secret: str,
        envelope: Mapping[str, Any],
        at: float,
        *,
        remote: bool = False,
    ) -> Delivery:
        """Sign an event as of `at` and send it, after earlier ones about the same instance or task.

        The envelope's ``Timestamp`` stands as it is to be sent. Retries repeat the request to the letter.

        Args:
            about: the id of the instance or task.
            event: the event's name.
            url: where to; None to record it only.
            secret: what to sign with.
            envelope: what to send, but for nonce and signature.
            at: when it happened, on the sandbox's clock.
            remote: whether `url` may leave this machine.

        Raises:
            ValueError: if the envelope holds what JSON cannot.
        """
        nonce = self._ids.nonce()
        body = {**envelope, "Nonce": nonce, "Signature": sign(secret, str(envelope["Timestamp"]), nonce)}
        try:
            content = _encode(body)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"the data of a callback must be JSON: {error}") from error
        delivery = Delivery(about=about, event=event, url=url, body=body, content=content, number=self.total + 1, time=at)
        self.deliveries.append(delivery)
        self.total += 1
        for app_id, listener in self._listeners:
            if app_id == envelope["AppId"]:
                listener.tell(content, secret)
        if url is None:
            delivery.state, delivery.content = "unaddressed", b""
        elif not (remote or is_loopback_url(url)):
            delivery.state, delivery.content = "blocked", b""
        else:
            self._enqueue(delivery, at)
        return delivery

    def listen(self, app_id: int, handler: Callable[[Event], Awaitable[object]]) -> None:
        """Have a coroutine function called with every event of an app from now on, wherever else it is sent."""
        self._listeners.append((app_id, Listener(handler, self._scope)))

    async def settled(self) -> None:
        """Wait until no attempt is under way. Retries that are due later are not waited for."""
        await self._quiet.wait()

    async def heard(self) -> None:
        """Wait until listeners have dealt with what they were told."""
        for _, listener in self._listeners:
            await listener.settled()

    async def close(self) -> None:
        """Give the connections back. The scope must be closed before."""
        self._queues.clear()
        self._quiet.set()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _enqueue(self, delivery: Delivery, at: float) -> None:
        queue = self._queues.get(delivery.about)
        if queue is not None:
            queue.append((delivery, at))
            return
        self._queues[delivery.about] = deque([(delivery, at)])
        self._quiet.clear()
        self._scope.start(self._drain(delivery.about))

    async def _drain(self, name: str) -> None:
        queue = self._queues[name]
        try:
            while queue:
                await self._attempt(*queue.popleft())
        finally:
            del self._queues[name]
            if not self._queues:
                self._quiet.set()

    async def _attempt(self, delivery: Delivery, at: float) -> None:
        status, error = await self._send(delivery)
        delivery.attempts.append(DeliveryAttempt(at, status, error))
        if status is not None and 200 <= status < 300:
            delivery.state, delivery.content = "delivered", b""
        elif len(delivery.attempts) > len(RETRY_DELAYS):
            delivery.state, delivery.content = "lost", b""
        else:
            due = at + RETRY_DELAYS[len(delivery.attempts) - 1]
            self._clock.call_at(due, lambda when: self._enqueue(delivery, when))

    async def _send(self, delivery: Delivery) -> tuple[int | None, str]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=RECEIVER_TIMEOUT))
        assert delivery.url is not None
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                delivery.url, data=delivery.content, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, ""
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"
