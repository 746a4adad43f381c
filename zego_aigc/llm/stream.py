"""How an answer is written, by the rules of the service. Pure.

In chat completions (LLM.Vendor ``OpenAIChat``) each line begins with ``data: `` and holds one chunk with ``choices[0].delta``;
``finish_reason`` is absent in every chunk but the last, which says ``"stop"``; then comes ``data: [DONE]``. A chunk that breaks
one of these silences the agent.

For the Responses API (``OpenAIResponses``) the service has no rules of its own: the events are those of OpenAI,
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import msgspec

from zego_aigc.llm.request import ChatRequest

__all__ = ["AnswerWriter", "ChunkWriter", "Piece", "ResponsesWriter", "writer_for"]

Piece = str | Mapping[str, Any] | object
"""What an answer yields: text, or a chunk as OpenAI's, be it an object of its client (with ``model_dump``) or a mapping."""

_encode = msgspec.json.Encoder().encode


class AnswerWriter(Protocol):
    """Writes one answer in one protocol."""

    @property
    def said_something(self) -> bool:
        """Whether any text or tool call was written."""
        ...

    def start(self) -> bytes:
        """What comes first."""
        ...

    def heartbeat(self) -> bytes:
        """Something without text, while the answer takes its time. A comment would break the rules."""
        ...

    def piece(self, piece: Piece) -> bytes:
        """A piece of the answer; empty where it has nothing to say, as a chunk of usage alone.

        Raises:
            TypeError: it is neither text nor a chunk.
        """
        ...

    def end(self) -> bytes:
        """What comes last."""
        ...


def writer_for(request: ChatRequest, answer_id: str, created: int) -> AnswerWriter:
    """The writer of the protocol in which a request came.

    Args:
        request: the request.
        answer_id: a unique name for the answer, of letters and digits.
        created: Unix time in seconds.
    """
    kind = ResponsesWriter if request.protocol == "OpenAIResponses" else ChunkWriter
    return kind(answer_id, created, request.model)


class ChunkWriter:
    """Writes one answer in chat completions; see :class:`AnswerWriter`.

    Args:
        answer_id: a unique name for it.
        created: Unix time in seconds.
        model: the model's name.
    """

    def __init__(self, answer_id: str, created: int, model: str) -> None:
        self._base: dict[str, Any] = {
            "id": f"chatcmpl-{answer_id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self.said_something: bool = False

    def start(self) -> bytes:
        """See :class:`AnswerWriter`."""
        return self._chunk({"role": "assistant", "content": ""})

    def heartbeat(self) -> bytes:
        """See :class:`AnswerWriter`."""
        return self._chunk({"content": ""})

    def piece(self, piece: Piece) -> bytes:
        """See :class:`AnswerWriter`."""
        # Its finish_reason is left out, and so is all that is not the first choice's delta: end() says when it is over.
        kept = {key: value for key, value in _delta(piece).items() if value is not None}
        if not any(value for key, value in kept.items() if key != "role"):
            return b""
        self.said_something = True
        return self._chunk(kept)

    def end(self) -> bytes:
        """See :class:`AnswerWriter`."""
        choice: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "stop"}
        return b"data: " + _encode({**self._base, "choices": [choice]}) + b"\n\ndata: [DONE]\n\n"

    def _chunk(self, delta: Mapping[str, Any]) -> bytes:
        return b"data: " + _encode({**self._base, "choices": [{"index": 0, "delta": delta}]}) + b"\n\n"


class ResponsesWriter:
    """Writes one answer as the events of a response that consists of one message; see :class:`AnswerWriter`.

    Only text is written: tool calls are not, which an agent could not speak.

    Args:
        answer_id: a unique name for it.
        created: Unix time in seconds.
        model: the model's name.
    """

    def __init__(self, answer_id: str, created: int, model: str) -> None:
        self._response: dict[str, Any] = {
            "id": f"resp_{answer_id}",
            "object": "response",
            "created_at": created,
            "model": model,
        }
        self._item_id = f"msg_{answer_id}"
        self._where = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        self._text: list[str] = []
        self._count = 0

    @property
    def said_something(self) -> bool:
        """See :class:`AnswerWriter`."""
        return bool(self._text)

    def start(self) -> bytes:
        """See :class:`AnswerWriter`."""
        return (
            self._event("response.created", response=self._in_state("in_progress", []))
            + self._event("response.output_item.added", output_index=0, item=self._item("in_progress", []))
            + self._event("response.content_part.added", **self._where, part=_part(""))
        )

    def heartbeat(self) -> bytes:
        """See :class:`AnswerWriter`."""
        return self._event("response.in_progress", response=self._in_state("in_progress", []))

    def piece(self, piece: Piece) -> bytes:
        """See :class:`AnswerWriter`."""
        text = _delta(piece).get("content")
        if not text or not isinstance(text, str):
            return b""
        self._text.append(text)
        return self._event("response.output_text.delta", **self._where, delta=text)

    def end(self) -> bytes:
        """See :class:`AnswerWriter`."""
        text = "".join(self._text)
        item = self._item("completed", [_part(text)])
        return (
            self._event("response.output_text.done", **self._where, text=text)
            + self._event("response.content_part.done", **self._where, part=_part(text))
            + self._event("response.output_item.done", output_index=0, item=item)
            + self._event("response.completed", response=self._in_state("completed", [item]))
        )

    def _in_state(self, status: str, output: list[Any]) -> dict[str, Any]:
        return {**self._response, "status": status, "output": output}

    def _item(self, status: str, content: list[Any]) -> dict[str, Any]:
        return {"id": self._item_id, "type": "message", "role": "assistant", "status": status, "content": content}

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._count, **fields}
        self._count += 1
        return f"event: {kind}\ndata: ".encode() + _encode(event) + b"\n\n"


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _delta(piece: Piece) -> dict[str, Any]:
    """What a piece adds to an answer, as the delta of chat completions; empty for what adds nothing.

    Raises:
        TypeError: it is neither text nor a chunk.
    """
    if isinstance(piece, str):
        return {"content": piece}
    dump: Callable[..., Any] | None = getattr(piece, "model_dump", None)
    chunk: Any = piece if dump is None else dump(exclude_none=True)
    if not isinstance(chunk, Mapping):
        raise TypeError(f"an answer yields text, or chunks as OpenAI's clients do, not {type(piece).__name__}")
    chunk = cast("Mapping[str, Any]", chunk)
    if chunk.get("type") == "response.output_text.delta":
        return {"content": chunk.get("delta")}
    try:
        return dict(chunk["choices"][0]["delta"])
    except (KeyError, IndexError, TypeError, ValueError):
        return {}  # of usage alone, for instance, or another event of a response
