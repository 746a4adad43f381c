"""An agent with a model of your own: any OpenAI-compatible upstream, or your own code, behind the endpoint of LLM.Url.

    pip install '.[examples]'  # in a clone
    LLM_API_KEY=... OPENAI_API_KEY=... uvicorn examples.own_model:app

LLM_API_KEY is what you give to ``LLM(api_key=...)``; OPENAI_API_KEY and OPENAI_BASE_URL are the upstream's.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from openai import AsyncOpenAI
from starlette.routing import Route

from zego_aigc.llm import ChatEndpoint, ChatRequest

UPSTREAM_MODEL = os.environ.get("UPSTREAM_MODEL", "gpt-4o-mini")


def with_knowledge(request: ChatRequest) -> list[dict[str, Any]]:
    """What was found goes into the newest user message: the system prompt stays as it is, for the upstream's prefix cache."""
    *history, newest = (dict(message) for message in request.messages)
    if (request.agent_extra_info or {}).get("shop") == "flowers":
        newest["content"] = f"{newest.get('content', '')}\n\nToday's flowers: tulips, 2 euros each."
    return [*history, newest]


def create_app(upstream: AsyncOpenAI, api_key: str) -> FastAPI:
    """The endpoint as an app."""

    async def answer(request: ChatRequest) -> AsyncIterator[Any]:
        # Cancelled when the user cuts in: leaving the block then closes the connection to the upstream.
        parameters = {**request.parameters, "model": UPSTREAM_MODEL}
        create: Any = upstream.chat.completions.create  # what comes is passed through: it is the upstream that checks it
        async with await create(messages=with_knowledge(request), stream=True, **parameters) as stream:
            async for chunk in stream:
                yield chunk

    endpoint = ChatEndpoint(answer, api_key=api_key)
    app = FastAPI()
    app.router.routes.append(Route("/v1/chat/completions", endpoint.asgi))
    return app


if "LLM_API_KEY" in os.environ:
    app = create_app(AsyncOpenAI(), os.environ["LLM_API_KEY"])
