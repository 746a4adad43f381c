"""One answer under way, in a task of its own: its generator is entered and left by one task."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from zego_aigc.llm.request import ChatRequest
from zego_aigc.llm.stream import Piece

__all__ = ["END", "NOTHING", "AnswerFunction", "AnswerRun", "Failure"]

AnswerFunction = Callable[[ChatRequest], AsyncIterator[Piece] | Awaitable[AsyncIterator[Piece] | str]]
"""An asynchronous generator function of text or chunks, or a coroutine function that returns text or such an iterator."""

MAX_AHEAD = 16
"""Pieces that an answer may be ahead of what the service has taken."""

END = object()
"""After the last piece."""

NOTHING = object()
"""No piece came in time."""


class Failure(NamedTuple):
    """The answer raised an error."""

    error: BaseException


class AnswerRun:
    """Runs an answer, and hands its pieces on.

    Args:
        answer: what answers.
        request: what is asked.
        round_id: the round of the conversation, if it is known.
    """

    def __init__(self, answer: AnswerFunction, request: ChatRequest, round_id: int | None) -> None:
        self.round_id = round_id
        self._pieces: asyncio.Queue[Any] = asyncio.Queue(MAX_AHEAD)
        self._ended = asyncio.Event()
        self._task = asyncio.ensure_future(self._produce(answer, request))

    async def next(self, timeout: float) -> Any:
        """The next piece, :data:`END`, a :class:`Failure`, or :data:`NOTHING` where none comes in time."""
        try:
            async with asyncio.timeout(timeout):
                piece = await self._pieces.get()
        except TimeoutError:
            return NOTHING
        return END if self._ended.is_set() else piece

    def end(self) -> None:
        """Cancel the answer; what it said so far is enough."""
        self._ended.set()
        self._task.cancel()
        with contextlib.suppress(asyncio.QueueFull):
            self._pieces.put_nowait(END)

    async def close(self) -> None:
        """Cancel what still runs, and wait for its end."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _produce(self, answer: AnswerFunction, request: ChatRequest) -> None:
        try:
            pieces: Any = answer(request)
            if inspect.isawaitable(pieces):
                pieces = await pieces
            if isinstance(pieces, str):
                await self._pieces.put(pieces)
            else:
                closing = contextlib.aclosing(pieces) if hasattr(pieces, "aclose") else contextlib.nullcontext()
                async with closing:
                    async for piece in pieces:
                        await self._pieces.put(piece)
            await self._pieces.put(END)
        except (KeyboardInterrupt, SystemExit):
            raise  # the process is to end
        except BaseException as error:  # extensions written in Rust raise PanicException, which is no Exception
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # by end() or close()
            await self._pieces.put(Failure(error))
