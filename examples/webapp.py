"""The smallest web app in which visitors talk to a digital human, on aiohttp: calls, callbacks, and events for the browser.

``examples/fastapi_app`` is the larger one, with a page, visitors who are told apart, a model and several workers. Here the
user is whom the request names: an app with accounts takes the user from its session.

Try it without an account, in two terminals, after ``pip install '.[cli]'`` in a clone:

    zego-aigc sandbox --port 8600 --callback-url http://127.0.0.1:8080/callbacks
    python examples/webapp.py

with the variables that the sandbox prints in the second one's environment, and then

    curl -X POST http://127.0.0.1:8080/conversations -H 'Content-Type: application/json' -d '{"user": "alice"}'
    curl -N http://127.0.0.1:8080/conversations/ID/events
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from zego_aigc import Client, ConfigurationError, InvalidRequest, QuotaExceeded, SQLiteRegistry, TooManyLive, ZegoError
from zego_aigc.aiagent import (
    LLM,
    RTC,
    TTS,
    CallbackConfig,
    CreateDigitalHumanAgentInstance,
    DigitalHuman,
    RegisterAgent,
)
from zego_aigc.callbacks import CallbackRouter, Event, ServerSentEvents
from zego_aigc.errors import NotFound
from zego_aigc.tokens import token04

AGENT = RegisterAgent(
    agent_id="concierge",
    name="Concierge",
    llm=LLM(url="https://api.openai.com/v1/chat/completions", api_key="sk-...", model="gpt-4o-mini"),
    tts=TTS.minimax(api_key="...", voice_id="female-shaonv", model="speech-02-turbo"),
)
DIGITAL_HUMAN = "0d3538a4-9e8e-4155-b1fb-c7defb8eeef8"
TOKEN_SECONDS = 3600

CLIENT = web.AppKey("client", Client)
CALLBACKS = web.AppKey("callbacks", CallbackRouter)
SERVER_SECRET = web.AppKey("server_secret", str)

T = TypeVar("T")

routes = web.RouteTableDef()


class Begin(msgspec.Struct):
    user: str


class Say(msgspec.Struct):
    text: str


async def body_of(request: web.Request, kind: type[T]) -> T:
    """The request's body: what is not what was expected is the visitor's error and not the server's."""
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"the body must be a JSON object: {error}") from None


@routes.post("/conversations")
async def start(request: web.Request) -> web.Response:
    """Give a visitor a digital human: the answer holds what the visitor's SDK needs to join."""
    client, user = request.app[CLIENT], (await body_of(request, Begin)).user
    rtc = RTC.for_user(user)
    create = CreateDigitalHumanAgentInstance(
        agent_id=AGENT.agent_id,
        user_id=user,
        rtc=rtc,
        digital_human=DigitalHuman(digital_human_id=DIGITAL_HUMAN, config_id="web"),
        callback_config=CallbackConfig(asr_result=1, llm_result=1, agent_instance_status=1),
    )
    token = token04(client.app_id, user, request.app[SERVER_SECRET], ttl=TOKEN_SECONDS)  # it logs the user in to the room
    # It outlives this request, and not the app. The registry counts what the user has.
    agent = await client.start(create, owner=user)
    return web.json_response(
        {
            "id": agent.id,
            "app_id": client.app_id,
            "user": user,
            "token": token,
            "room": rtc.room_id,
            "publish": rtc.user_stream_id,
            "play": rtc.agent_stream_id,
            "digital_human_config": agent.created.digital_human_config,
        },
        status=201,
    )


@routes.get("/conversations/{id}/events")
async def events(request: web.Request) -> web.StreamResponse:
    """What happens in a conversation, for the browser's EventSource."""
    return await ServerSentEvents(request.app[CALLBACKS].subscribe(request.match_info["id"])).aiohttp_response(request)


@routes.post("/conversations/{id}/say")
async def say(request: web.Request) -> web.Response:
    """Have the digital human say something."""
    agent = request.app[CLIENT].attach(request.match_info["id"])
    spoken = await agent.say((await body_of(request, Say)).text)
    return web.json_response({"round": str(spoken.round)})  # a 64-bit number: JavaScript would round it


@routes.delete("/conversations/{id}")
async def end(request: web.Request) -> web.Response:
    """The visitor hangs up. What has ended already counts as ended."""
    await request.app[CLIENT].attach(request.match_info["id"]).end()
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
    except TooManyLive:
        return web.json_response({"error": "you have a conversation already: end it first"}, status=429)
    except QuotaExceeded:
        return web.json_response({"error": "every digital human is busy, please try again"}, status=503)
    except ZegoError:
        request.app.logger.exception("a call failed")  # its text is for you, and not for visitors
        return web.json_response({"error": "the service has a problem, please try again"}, status=502)


def create_app(client: Client, server_secret: str, callback_secret: str) -> web.Application:
    """The app for a client, whose lifetime is the app's from here on."""
    app = web.Application(middlewares=[errors])
    app[CLIENT] = client
    app[SERVER_SECRET] = server_secret
    app[CALLBACKS] = callbacks = CallbackRouter(secret=callback_secret)
    app.add_routes(routes)
    app.router.add_route("*", "/callbacks", callbacks.aiohttp_handler)
    callbacks.on(Event)(client.observe)

    async def service(_: web.Application) -> AsyncIterator[None]:
        async with client:  # leaving it ends what is live
            await client.ensure_agent(AGENT)
            yield

    # Left in reverse: first the callbacks in hand are handled, then the client is closed.
    app.cleanup_ctx.extend([service, callbacks.aiohttp_context])
    return app


if __name__ == "__main__":
    # What a killed process leaves is ended by the next one, which finds it in the registry. That also bounds what a user has.
    client = Client.from_env(registry=SQLiteRegistry("conversations.db"), live_per_owner=1)
    if client.callback_secret is None:
        raise ConfigurationError("set ZEGO_CALLBACK_SECRET in the environment: callbacks are verified with it")
    app = create_app(client, os.environ["ZEGO_SERVER_SECRET"], client.callback_secret)
    web.run_app(app, host="127.0.0.1", port=8080)
