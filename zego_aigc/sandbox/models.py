"""Calls the language model's endpoint (LLM.Url) as the vendor does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from zego_aigc.sandbox.model_stream import ChatStreamReader, ResponsesStreamReader, StreamProblem, StreamReader
from zego_aigc.schema.redaction import mask_map

if TYPE_CHECKING:
    from zego_aigc.sandbox.clock import Clock
    from zego_aigc.sandbox.conversation import Question, Reply
    from zego_aigc.transport.task_scope import TaskScope

__all__ = ["ModelCall", "Models", "request_body"]

MODEL_TIMEOUT = 30.0
"""Seconds of real time in which an endpoint must answer whole."""

MAX_LINE = 1 << 20
"""Bytes in a line of the answer."""

RESPONSES = "OpenAIResponses"

EXCEPTION_CODES = {400: 2202, 401: 2203, 402: 2205, 403: 2203, 404: 2202, 422: 2202, 429: 2204}
"""By HTTP status, the Code of the Exception callback; 2201 for others."""

_encode = msgspec.json.Encoder().encode


def request_body(llm: Mapping[str, Any], question: Question, agent_info: Mapping[str, Any]) -> dict[str, Any]:
    """What an endpoint is sent.

    Args:
        llm: the LLM object in wire form.
        question: what is asked.
        agent_info: what it is sent with AddAgentInfo.
    """
    system = [{"role": "system", "content": question.system_prompt}] if question.system_prompt else []
    history = [{"role": message["Role"], "content": message["Content"]} for message in question.messages]
    messages = [*system, *history, {"role": "user", "content": question.text}]
    chat = llm.get("Vendor") != RESPONSES
    body: dict[str, Any] = {
        "model": llm.get("Model", ""),
        "messages" if chat else "input": messages,
        "temperature": llm.get("Temperature", 0.7),
        "top_p": llm.get("TopP", 0.9),
        **(llm.get("Params") or {}),
        "stream": True,
    }
    if chat and llm.get("AddAgentInfo"):
        body["agent_info"] = agent_info
    if chat and llm.get("AgentExtraInfo"):
        body["agent_extra_info"] = llm["AgentExtraInfo"]
    return body


class ModelCall(msgspec.Struct, kw_only=True):
    """One call of an endpoint and what came of it."""

    time: float
    """When it was made: Unix seconds on the sandbox's clock."""
    url: str
    """The endpoint's address."""
    about: str
    """The AgentInstanceId."""
    round: int
    """The turn of the conversation."""
    body: dict[str, Any]
    """As sent; secrets may be in it."""
    status: int | None = None
    """The HTTP status; None if none came."""
    text: str = ""
    """What the endpoint said."""
    state: str = "asking"
    """``asking``, ``answered``, ``broken``, or ``cut`` by an interruption."""
    problem: str = ""
    """Why the agent says nothing, or breaks off."""

    def to_json(self) -> dict[str, Any]:
        """For the sandbox's page, secrets masked."""
        return {
            "Time": self.time,
            "Url": self.url,
            "About": self.about,
            "Round": self.round,
            "Status": self.status,
            "State": self.state,
            "Text": self.text,
            "Problem": self.problem,
            "Body": mask_map(self.body),
        }


class Models:
    """Asks endpoints, and remembers what they said.

    Args:
        clock: the sandbox's.
        scope: where the calls run.
        limit: how many calls are remembered.
    """

    def __init__(self, clock: Clock, scope: TaskScope, limit: int = 1000) -> None:
        self.calls: deque[ModelCall] = deque(maxlen=limit)
        self.total: int = 0
        """How many there were, the forgotten ones included."""
        self._clock = clock
        self._scope = scope
        self._session: aiohttp.ClientSession | None = None
        self._running = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def ask(
        self, llm: Mapping[str, Any], question: Question, agent_info: Mapping[str, Any], reply: Reply, at: float
    ) -> ModelRequest:
        """Begin a call; the answer goes into `reply`.

        Args:
            llm: the LLM object in wire form.
            question: what is asked.
            agent_info: what the endpoint is sent with AddAgentInfo.
            reply: where the answer goes.
            at: when: Unix seconds on the sandbox's clock.
        """
        call = ModelCall(
            time=at,
            url=llm.get("Url", ""),
            about=question.agent_instance_id,
            round=question.round,
            body=request_body(llm, question, agent_info),
        )
        self.calls.append(call)
        self.total += 1
        reader = ResponsesStreamReader() if llm.get("Vendor") == RESPONSES else ChatStreamReader()
        self._running += 1
        self._quiet.clear()
        task = self._scope.start(self._run(call, llm.get("ApiKey") or "", reader, reply))
        if task is None:
            self._over(None)
        else:
            task.add_done_callback(self._over)
        return ModelRequest(task)

    async def settled(self) -> None:
        """Wait until no endpoint is being asked."""
        await self._quiet.wait()

    async def close(self) -> None:
        """Give the connections back. The scope must be closed before."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _run(self, call: ModelCall, api_key: str, reader: StreamReader, reply: Reply) -> None:
        try:
            async with asyncio.timeout(MODEL_TIMEOUT):
                await self._read(call, api_key, reader, reply)
            call.state = "answered"
            reply.end(self._clock.now())
        except asyncio.CancelledError:
            call.state = "cut"
            raise
        except TimeoutError:
            self._fail(call, reply, f"the answer was not complete within {MODEL_TIMEOUT:g} s")
        except (StreamProblem, aiohttp.ClientError, OSError, ValueError) as error:
            self._fail(call, reply, str(error) or type(error).__name__)

    def _over(self, _task: asyncio.Task[None] | None) -> None:
        self._running -= 1
        if not self._running:
            self._quiet.set()

    async def _read(self, call: ModelCall, api_key: str, reader: StreamReader, reply: Reply) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(read_bufsize=MAX_LINE)
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        async with self._session.post(
            call.url, data=_encode(call.body), headers=headers, allow_redirects=False, timeout=aiohttp.ClientTimeout()
        ) as answer:
            call.status = answer.status
            if answer.status != 200:
                raise StreamProblem(f"the endpoint must answer with HTTP status 200, not {answer.status}")
            async for raw in answer.content:
                if not raw.endswith(b"\n"):
                    raise StreamProblem("each line must end with a line break, also the last one")
                piece = reader.line(raw.decode("utf-8", "replace").rstrip("\r\n"))
                if piece:
                    call.text += piece
                    reply.text(piece, self._clock.now())
            reader.end()

    def _fail(self, call: ModelCall, reply: Reply, problem: str) -> None:
        call.state, call.problem = "broken", problem
        code = 2201 if call.status is None else EXCEPTION_CODES.get(call.status, 2201)
        reply.fail(code, problem, self._clock.now())


class ModelRequest:
    """A call under way."""

    def __init__(self, task: asyncio.Task[None] | None) -> None:
        self._task = task

    def cancel(self) -> None:
        """Break it off: the agent was interrupted. The endpoint sees the connection close."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
