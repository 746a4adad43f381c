"""A web app in which every visitor talks to a digital human: one process, one client, callbacks in order.

Try it without an account, in two terminals:

    zego-aigc sandbox --port 8600
    ZEGO_APP_ID=... ZEGO_SERVER_SECRET=... ZEGO_CALLBACK_SECRET=... \
    ZEGO_AIAGENT_URL=http://127.0.0.1:8600 ZEGO_DIGITALHUMAN_URL=http://127.0.0.1:8600 python examples/webapp.py

with the AppId and secrets that the sandbox prints, and then

    curl -X POST http://127.0.0.1:8080/conversations -d '{"user": "alice"}'
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web
from aiohttp.typedefs import Handler

from zego_aigc import Client, ConfigurationError, InvalidRequest, QuotaExceeded, ZegoError
from zego_aigc.aiagent import (
    LLM,
    RTC,
    TTS,
    CreateDigitalHumanAgentInstance,
    DeleteAgentInstance,
    DigitalHuman,
    RegisterAgent,
    SendAgentInstanceTTS,
)
from zego_aigc.callbacks import AgentInstanceDeleted, CallbackRouter
from zego_aigc.errors import AlreadyExists, NotFound
from zego_aigc.tokens import room_payload, token04

CLIENT = web.AppKey("client", Client)
LIVE = web.AppKey("live", set[str])
AGENT = "concierge"
DIGITAL_HUMAN = "0d3538a4-9e8e-4155-b1fb-c7defb8eeef8"


class LoginTokens:
    """What lets one user into one room."""

    def __init__(self, app_id: int, server_secret: str) -> None:
        self._app_id = app_id
        self._server_secret = server_secret

    def make(self, user: str, room: str) -> str:
        """A token for an hour."""
        return token04(self._app_id, user, self._server_secret, ttl=3600, payload=room_payload(room))


LOGIN_TOKENS = web.AppKey("login_tokens", LoginTokens)

routes = web.RouteTableDef()


@routes.post("/conversations")
async def start(request: web.Request) -> web.Response:
    """Give a visitor a digital human: the answer holds what the visitor's SDK needs to join."""
    user = str((await request.json())["user"])
    call = uuid.uuid4().hex[:16]
    create = CreateDigitalHumanAgentInstance(
        agent_id=AGENT,
        user_id=user,
        rtc=RTC(
            room_id=f"room-{call}",
            agent_stream_id=f"agent-{call}",
            agent_user_id=f"agent-{call}",
            user_stream_id=f"user-{call}",
        ),
        digital_human=DigitalHuman(digital_human_id=DIGITAL_HUMAN, config_id="web"),
    )
    created = await request.app[CLIENT].call(create, timeout=10)
    request.app[LIVE].add(created.agent_instance_id)
    return web.json_response(
        {
            "id": created.agent_instance_id,
            "room": create.rtc.room_id,
            "stream": create.rtc.user_stream_id,
            "token": request.app[LOGIN_TOKENS].make(user, create.rtc.room_id),
            "digital_human_config": created.digital_human_config,
        },
        status=201,
    )


@routes.post("/conversations/{id}/say")
async def say(request: web.Request) -> web.Response:
    """Have the digital human say something."""
    text = str((await request.json())["text"])
    spoken = await request.app[CLIENT].call(SendAgentInstanceTTS(agent_instance_id=request.match_info["id"], text=text))
    return web.json_response({"round": str(spoken.round)})  # a 64-bit number: JavaScript would round it


@routes.delete("/conversations/{id}")
async def end(request: web.Request) -> web.Response:
    """The visitor hangs up."""
    identity = request.match_info["id"]
    await request.app[CLIENT].call(DeleteAgentInstance(agent_instance_id=identity))
    request.app[LIVE].discard(identity)
    return web.Response(status=204)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error says what is known: answer the visitor accordingly."""
    try:
        return await handler(request)
    except InvalidRequest as error:
        return web.json_response({"problems": [str(problem) for problem in error.problems]}, status=400)
    except NotFound as error:
        return web.json_response({"error": error.name}, status=404)
    except QuotaExceeded:
        return web.json_response({"error": "every digital human is busy, please try again"}, status=503)
    except ZegoError as error:
        return web.json_response({"error": str(error)}, status=502)


def create_app(client: Client, callback_secret: str, login_tokens: LoginTokens) -> web.Application:
    """The app for a client, whose lifetime is the app's from here on."""
    app = web.Application(middlewares=[errors])
    app[CLIENT] = client
    app[LOGIN_TOKENS] = login_tokens
    app[LIVE] = live = set[str]()  # what bills until it ends
    app.add_routes(routes)

    callbacks = CallbackRouter(secret=callback_secret)

    @callbacks.on(AgentInstanceDeleted)
    async def ended(event: AgentInstanceDeleted) -> None:
        live.discard(event.agent_instance_id)  # its visitor left the room, for instance

    app.router.add_post("/callbacks", callbacks.aiohttp_handler)
    app.cleanup_ctx.append(callbacks.aiohttp_context)

    async def service(_: web.Application) -> AsyncIterator[None]:
        async with client:
            await client.warmup()
            with suppress(AlreadyExists):  # registered when the app last ran
                await client.call(
                    RegisterAgent(
                        agent_id=AGENT,
                        name="Concierge",
                        llm=LLM(url="https://api.openai.com/v1/chat/completions", api_key="sk-...", model="gpt-4o-mini"),
                        tts=TTS.minimax(api_key="...", voice_id="female-shaonv", model="speech-02-turbo"),
                    )
                )
            yield
            for identity in live:
                await client.end(identity, DeleteAgentInstance(agent_instance_id=identity))

    app.cleanup_ctx.append(service)
    return app


if __name__ == "__main__":
    client = Client.from_env()
    if client.callback_secret is None:
        raise ConfigurationError("set ZEGO_CALLBACK_SECRET in the environment: callbacks are verified with it")
    login_tokens = LoginTokens(int(os.environ["ZEGO_APP_ID"]), os.environ["ZEGO_SERVER_SECRET"])
    web.run_app(create_app(client, client.callback_secret, login_tokens), host="127.0.0.1", port=8080)
