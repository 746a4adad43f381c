"""Your own model behind an agent: the endpoint that LLM.Url points to.

The service asks it like an OpenAI client would, and reads its answer by rules that are stricter than those of OpenAI's clients;
where one is broken the agent stays silent. :class:`ChatEndpoint` keeps them, so that what you write is an asynchronous
generator of text::

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        yield "Hello! "
        yield "How can I help?"

    endpoint = ChatEndpoint(answer, api_key=os.environ["LLM_API_KEY"])
    app.router.routes.append(Route("/model", endpoint.asgi))         # FastAPI, Starlette
    app.router.add_route("*", "/model", endpoint.aiohttp_handler)    # aiohttp

Here is what each module is for: ``request`` what is asked, ``stream`` how an answer is written in either protocol, ``endpoint``
who may ask and what ends an answer, ``_run`` one answer under way, ``_asgi`` and ``_aiohttp`` moving bytes.

Vendor's page: https://www.zegocloud.com/docs/aiagent-server/guides/use-your-own-llm-service
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zego_aigc.llm.endpoint import ChatEndpoint
from zego_aigc.llm.request import AgentInfo, ChatRequest
from zego_aigc.schema.missing_names import missing_export

__all__ = ["AgentInfo", "ChatEndpoint", "ChatRequest"]

if not TYPE_CHECKING:  # to a type checker, a name that is not there stays the mistake that it is

    def __getattr__(name):  # noqa: ANN001, ANN202 - as every module's
        raise missing_export(__name__, name)
