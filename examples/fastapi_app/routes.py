"""The visitor's side of the app."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import msgspec
from fastapi import APIRouter, Cookie, Depends, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from examples.fastapi_app.event_log import EventLog
from examples.fastapi_app.model import GREETING
from examples.fastapi_app.settings import Settings, new_id
from zego_aigc import Client
from zego_aigc.aiagent import (
    RTC,
    CallbackConfig,
    CreateAgentInstance,
    MessageHistory,
    SendAgentInstanceLLM,
)
from zego_aigc.callbacks import CallbackRouter, ServerSentEvents
from zego_aigc.tokens import token04

AGENT = "concierge"
PAGE = Path(__file__).parent / "page"
TOKEN_SECONDS = 3600

routes = APIRouter()


class Service(msgspec.Struct, frozen=True):
    """What the routes need. It lives as long as the app does."""

    settings: Settings
    client: Client
    callbacks: CallbackRouter
    log: EventLog


def service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


ServiceOf = Annotated[Service, Depends(service)]


def visitor(response: Response, visitor: Annotated[str | None, Cookie(pattern="^[0-9a-f]{32}$")] = None) -> str:
    """Who asks, by a name that may be written down. An app with accounts has a better answer."""
    if visitor is None:
        visitor = new_id()
        response.set_cookie("visitor", visitor, httponly=True, samesite="strict", max_age=30 * 86400)
    # Whoever has the cookie is the visitor: it is a secret. The name goes into the registry, into the log and to the service:
    # so it is a digest, from which nobody finds the cookie.
    return hashlib.sha256(visitor.encode()).hexdigest()[:16]


Visitor = Annotated[str, Depends(visitor)]


async def own(conversation: str, visitor: Visitor, service: ServiceOf) -> str:
    """A conversation of the visitor's. An id is no secret: without this anybody could follow or end any of them."""
    if await service.log.visitor_of(conversation) != visitor:
        raise HTTPException(404, "you have no such conversation")
    return conversation


Own = Annotated[str, Depends(own)]


class Said(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=300)]


@routes.get("/")
async def page() -> FileResponse:
    return FileResponse(PAGE / "index.html")


@routes.post("/conversations", status_code=201)
async def begin(visitor: Visitor, service: ServiceOf) -> dict[str, Any]:
    """Begin a conversation. The answer holds what the visitor's RTC SDK needs to join."""
    name = new_id()[:16]
    user = f"visitor-{visitor}"
    rtc = RTC(
        room_id=f"room-{name}",
        agent_stream_id=f"agent-{name}",
        agent_user_id=f"bot-{name}",
        user_stream_id=f"user-{name}",
    )
    create = CreateAgentInstance(
        agent_id=AGENT,
        user_id=user,
        rtc=rtc,
        message_history=MessageHistory(sync_mode=1),
        callback_config=CallbackConfig(asr_result=1, llm_result=1, interrupted=1, agent_instance_status=1),
    )
    # It outlives this request: the registry knows whose it is, and ends it with this worker, however that ends.
    agent = await service.client.start(create, timeout=15, owner=visitor)
    await service.log.open(agent.id, visitor)
    settings = service.settings
    return {
        "id": agent.id,
        "app_id": settings.app_id,
        "user_id": user,
        "room_id": rtc.room_id,
        "publish": rtc.user_stream_id,
        "play": rtc.agent_stream_id,
        "greeting": GREETING,
        "token": token04(settings.app_id, user, settings.server_secret, ttl=TOKEN_SECONDS),
    }


@routes.get("/conversations/{conversation}/events")
async def follow(conversation: Own, service: ServiceOf) -> StreamingResponse:
    """What happens in it, as it happens, from the beginning."""
    return StreamingResponse(ServerSentEvents(service.log.follow(conversation)), headers=dict(ServerSentEvents.headers))


@routes.post("/conversations/{conversation}/messages", status_code=202)
async def said(conversation: Own, message: Said, service: ServiceOf) -> dict[str, str]:
    """What the visitor types: against the sandbox it counts as spoken, otherwise it is put to the model."""
    sandbox = service.settings.sandbox_url
    if sandbox is None:
        await service.client.call(SendAgentInstanceLLM(agent_instance_id=conversation, text=message.text))
        return {"as": "typed"}
    command = {"Text": message.text, "About": conversation, "Seconds": 0.5}
    async with aiohttp.ClientSession() as session, session.post(f"{sandbox}/_sandbox/speak", json=command) as answer:
        if answer.status != 200:
            raise HTTPException(404, "this conversation has ended")
    return {"as": "spoken"}


@routes.delete("/conversations/{conversation}", status_code=204)
async def hang_up(conversation: Own, service: ServiceOf) -> None:
    await service.client.attach(conversation).end()


@routes.get("/health")
async def health(service: ServiceOf) -> JSONResponse:
    """For a load balancer."""
    ready = service.callbacks.ready
    return JSONResponse({"ready": ready, "in_hand": service.callbacks.stats().in_hand}, 200 if ready else 503)
