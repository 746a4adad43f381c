"""What happened in each conversation, in the order of its coming, for whoever follows it: in this process, or in Redis for all.

A follower reads from the beginning, so that a page that connects again, to whichever worker, has missed nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any, Protocol

from zego_aigc.callbacks import AgentInstanceDeleted, Event, dump_event, load_event

KEPT_EVENTS = 2000
KEPT_CONVERSATIONS = 1000
KEPT_SECONDS = 3600


class EventLog(Protocol):
    async def open(self, conversation: str, visitor: str) -> None:
        """A visitor has begun a conversation."""

    async def visitor_of(self, conversation: str) -> str | None:
        """Whose conversation it is."""

    async def append(self, event: Event) -> None:
        """A callback has come. It returns once the event is safe."""

    def follow(self, conversation: str) -> AsyncIterator[Event]:
        """All events of a conversation, until it has ended."""
        ...

    async def aclose(self) -> None: ...


class LocalEventLog:
    """For one process."""

    def __init__(self) -> None:
        self._visitors: OrderedDict[str, str] = OrderedDict()
        self._events: OrderedDict[str, list[Event]] = OrderedDict()
        self._more = asyncio.Condition()

    async def open(self, conversation: str, visitor: str) -> None:
        self._visitors[conversation] = visitor
        while len(self._visitors) > KEPT_CONVERSATIONS:
            self._visitors.popitem(last=False)

    async def visitor_of(self, conversation: str) -> str | None:
        return self._visitors.get(conversation)

    async def append(self, event: Event) -> None:
        async with self._more:
            events = self._events.setdefault(event.subject, [])
            if len(events) < KEPT_EVENTS:
                events.append(event)
            while len(self._events) > KEPT_CONVERSATIONS:
                self._events.popitem(last=False)
            self._more.notify_all()

    async def follow(self, conversation: str) -> AsyncIterator[Event]:
        read = 0
        while True:
            async with self._more:
                while not (fresh := self._events.get(conversation, [])[read:]):
                    await self._more.wait()
            for event in fresh:
                yield event
                if isinstance(event, AgentInstanceDeleted):
                    return
            read += len(fresh)

    async def aclose(self) -> None:
        pass


class RedisEventLog:
    """For several workers: a Redis stream for each conversation."""

    def __init__(self, url: str) -> None:
        from redis import asyncio as aioredis  # noqa: PLC0415 - redis is not needed where there is one process

        redis: Any = aioredis.Redis  # its types are loose
        self._redis = redis.from_url(url, decode_responses=True)

    async def open(self, conversation: str, visitor: str) -> None:
        await self._redis.set(f"conversation:{conversation}:visitor", visitor, ex=KEPT_SECONDS)

    async def visitor_of(self, conversation: str) -> str | None:
        visitor: str | None = await self._redis.get(f"conversation:{conversation}:visitor")
        return visitor

    async def append(self, event: Event) -> None:
        key = f"conversation:{event.subject}:events"
        async with self._redis.pipeline(transaction=False) as together:
            together.xadd(key, {"event": dump_event(event)}, maxlen=KEPT_EVENTS, approximate=True)
            together.expire(key, KEPT_SECONDS)
            await together.execute()

    async def follow(self, conversation: str) -> AsyncIterator[Event]:
        key, last = f"conversation:{conversation}:events", "0"
        while True:
            for _, entries in await self._redis.xread({key: last}, block=5000, count=100):
                for last, fields in entries:  # noqa: B007 - where to go on
                    event = load_event(fields["event"])
                    yield event
                    if isinstance(event, AgentInstanceDeleted):
                        return

    async def aclose(self) -> None:
        await self._redis.aclose()
