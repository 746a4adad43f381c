"""A small web app for :mod:`benchmarks.killed_workers`: it makes conversations on request, and ends them on request.

It reads ``ZEGO_*`` from the environment, ``REGISTRY``, the path of a file or the URL of a Redis, and ``LEASE`` in seconds.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import parse_qs

from zego_aigc import Client, LocalLimiter, RetryPolicy, SQLiteRegistry, ZegoError, aiagent
from zego_aigc.callbacks import AgentInstanceCreated, AgentInstanceDeleted, CallbackRouter
from zego_aigc.redis import RedisLimiter, RedisQuota, RedisRegistry

LEASE = float(os.environ.get("LEASE", "2"))


def make_client() -> Client:
    """A client as a worker would have one: all that is shared is in the registry's Redis, if it has one."""
    place = os.environ["REGISTRY"]
    retry = RetryPolicy(delete_timeout=5.0)
    if place.startswith("redis://"):
        quota = RedisQuota(
            place, agents=int(os.environ["QUOTA"]), app_id=int(os.environ["ZEGO_APP_ID"]), lease=LEASE, orphan=5 * LEASE
        )
        limiter = RedisLimiter(place, limit=1000)
        return Client.from_env(registry=RedisRegistry(place, lease=LEASE), limiter=limiter, quota=quota, retry=retry)
    return Client.from_env(registry=SQLiteRegistry(place, lease=LEASE), limiter=LocalLimiter(limit=1000), retry=retry)


class App:
    """``POST /make?name=N`` answers the id of a new conversation and who made it; ``POST /end?id=ID`` ends one.

    ``POST /callbacks`` takes the service's callbacks.
    """

    client: Client
    callbacks: CallbackRouter

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
            return
        if scope["path"] == "/callbacks":
            await self.callbacks.asgi(scope, receive, send)
            return
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        try:
            answer = await (self.make(query["name"]) if scope["path"] == "/make" else self.end(query["id"]))
            status = 200
        except ZegoError as error:
            answer, status = {"error": str(error)}, 503
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps({**answer, "pid": os.getpid()}).encode()})

    async def make(self, name: str) -> dict[str, str]:
        create = aiagent.CreateAgentInstance(
            agent_id="guide",
            user_id="visitor",
            rtc=aiagent.RTC(
                room_id=f"room-{name}", agent_stream_id=f"agent-{name}", agent_user_id=f"bot-{name}", user_stream_id=f"u-{name}"
            ),
        )
        handle = self.client.agent(create)
        await handle.__aenter__()
        return {"id": handle.id}

    async def end(self, instance_id: str) -> dict[str, str]:
        error = await self.client.end(instance_id, aiagent.DeleteAgentInstance(agent_instance_id=instance_id))
        if error is not None:
            raise error
        return {}

    async def lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        self.callbacks = CallbackRouter(secret=os.environ["ZEGO_CALLBACK_SECRET"])
        async with make_client() as self.client, self.callbacks:
            self.callbacks.on(AgentInstanceCreated, AgentInstanceDeleted, before_answer=True)(self.client.observe)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


app = App()
