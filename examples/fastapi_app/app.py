"""The app: a client, a callback router and a model's endpoint in one lifespan, and the visitor's side."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import Route

from examples.fastapi_app.event_log import EventLog, LocalEventLog, RedisEventLog
from examples.fastapi_app.model import GREETING, answer
from examples.fastapi_app.routes import AGENT, PAGE, Service, routes
from examples.fastapi_app.settings import Settings
from zego_aigc import (
    Client,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    SQLiteRegistry,
    TimedOut,
    TooManyLive,
    ZegoError,
)
from zego_aigc.aiagent import LLM, TTS, RegisterAgent, SendAgentInstanceTTS
from zego_aigc.callbacks import AgentInstanceCreated, AgentInstanceDeleted, CallbackRouter, Event, Interrupted
from zego_aigc.llm import ChatEndpoint
from zego_aigc.redis import RedisLimiter, RedisRegistry, RedisSeen

STATUSES: list[tuple[type[ZegoError], int, str]] = [
    (InvalidRequest, 422, "that cannot be sent"),
    (TooManyLive, 429, "you have a conversation already: hang up first, or try again in half a minute"),
    (NotFound, 404, "this conversation has ended"),
    (QuotaExceeded, 503, "all agents are busy, please try again in a minute"),
    (RateLimited, 503, "too many visitors at the same time, please try again in a moment"),
    (TimedOut, 504, "the service took too long, please try again"),
    (ZegoError, 502, "the service has a problem, please try again"),
]
"""What a visitor is answered for each error, the first that fits. Details are in the log: they are not for visitors."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app for its settings, which come from the environment unless given."""
    settings = settings or Settings.from_env()
    if settings.redis_url is None:
        log: EventLog = LocalEventLog()
        registry: Any = SQLiteRegistry(settings.registry_path, lease=settings.worker_lease)
        seen = None
        limiter = None
    else:
        # What a killed worker leaves is ended by the others, within a lease and a third.
        registry = RedisRegistry(settings.redis_url, lease=settings.worker_lease)
        log = RedisEventLog(settings.redis_url)
        seen = RedisSeen(settings.redis_url)
        limiter = RedisLimiter(settings.redis_url)
    client = Client.from_env(registry=registry, live_per_owner=settings.live_per_visitor, limiter=limiter)
    router = CallbackRouter(secret=settings.callback_secret, seen=seen)
    model = ChatEndpoint(answer, api_key=settings.llm_api_key)

    # Before the answer: where one of these fails or its worker is killed, the vendor sends the callback again. By observe() it
    # becomes known which conversation a killed worker was just beginning.
    @router.on(Event, before_answer=True)
    async def keep(event: Event) -> None:
        await log.append(event)

    router.on(Event, before_answer=True)(client.observe)
    router.on(Interrupted, AgentInstanceDeleted)(model.observe)

    @router.on(AgentInstanceCreated)
    async def greet(event: AgentInstanceCreated) -> None:
        # Not before: the agent is in the room only now.
        with contextlib.suppress(NotFound):  # the visitor was faster, and has hung up
            await client.call(SendAgentInstanceTTS(agent_instance_id=event.agent_instance_id, text=GREETING))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        # Left in reverse: the router finishes what is in hand, then the client ends every conversation of this worker.
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(log.aclose)
            for shared in (seen, limiter):
                if shared is not None:
                    stack.push_async_callback(shared.aclose)
            await stack.enter_async_context(client)
            await stack.enter_async_context(router)
            await client.ensure_agent(
                RegisterAgent(
                    agent_id=AGENT,
                    name="Concierge",
                    llm=LLM(
                        url=f"{settings.public_url}/model",
                        api_key=settings.llm_api_key,
                        model="concierge",
                        system_prompt="You are the concierge of a small hotel. Be brief.",
                        add_agent_info=True,
                    ),
                    tts=TTS.minimax(api_key="zego_test", voice_id="female-shaonv", model="speech-02-turbo"),
                )
            )
            yield

    app = FastAPI(title="Talk to an agent", lifespan=lifespan)
    app.router.routes.append(Route("/callbacks", router.asgi))
    app.router.routes.append(Route("/model", model.asgi))
    app.mount("/page", StaticFiles(directory=PAGE))

    app.include_router(routes)
    app.state.service = Service(settings, client, router, log)

    @app.exception_handler(ZegoError)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        status, text = next((status, text) for kind, status, text in STATUSES if isinstance(error, kind))
        problems = [str(problem) for problem in error.problems] if isinstance(error, InvalidRequest) else None
        headers = {"Retry-After": "30"} if status in {429, 503} else None
        return JSONResponse({"detail": text, "problems": problems}, status, headers)

    return app
