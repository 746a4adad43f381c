"""How an answer is written, by the rules of the service. Pure.

Each line begins with ``data: `` and holds one chunk with ``choices[0].delta``; ``finish_reason`` is absent in every chunk but
the last, which says ``"stop"``; then comes ``data: [DONE]``. A chunk that breaks one of these silences the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

__all__ = ["ChunkWriter", "Piece"]

Piece = str | Mapping[str, Any] | object
"""What an answer yields: text, or a chunk as OpenAI's, be it an object of its client (with ``model_dump``) or a mapping."""

_encode = msgspec.json.Encoder().encode


class ChunkWriter:
    """Writes one answer.

    Args:
        answer_id: a unique name for it.
        created: Unix time in seconds.
        model: the model's name.
    """

    def __init__(self, answer_id: str, created: int, model: str) -> None:
        self._base: dict[str, Any] = {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self.said_something: bool = False
        """Whether any text or tool call was written."""

    def start(self) -> bytes:
        """The first chunk."""
        return self._chunk({"role": "assistant", "content": ""})

    def heartbeat(self) -> bytes:
        """A chunk without text, while the answer takes its time. A comment would break the rules."""
        return self._chunk({"content": ""})

    def piece(self, piece: Piece) -> bytes:
        """A piece of the answer; empty where it has nothing to say, as a chunk of usage alone.

        Raises:
            TypeError: it is neither text nor a chunk.
        """
        if isinstance(piece, str):
            if not piece:
                return b""
            self.said_something = True
            return self._chunk({"content": piece})
        dump: Callable[..., Any] | None = getattr(piece, "model_dump", None)
        chunk: Any = piece if dump is None else dump(exclude_none=True)
        if not isinstance(chunk, Mapping):
            raise TypeError(f"an answer yields text or chunks of chat completions, not {type(piece).__name__}")
        # Its finish_reason is left out, and so is all that is not the first choice's delta: end() says when it is over.
        try:
            delta: dict[str, Any] = dict(cast("Any", chunk)["choices"][0]["delta"])
        except (KeyError, IndexError, TypeError, ValueError):
            return b""  # of usage alone, for instance
        kept = {key: value for key, value in delta.items() if value is not None}
        if not any(value for key, value in kept.items() if key != "role"):
            return b""
        self.said_something = True
        return self._chunk(kept)

    def end(self) -> bytes:
        """The last chunk and the mark that nothing follows."""
        choice: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "stop"}
        return b"data: " + _encode({**self._base, "choices": [choice]}) + b"\n\ndata: [DONE]\n\n"

    def _chunk(self, delta: Mapping[str, Any]) -> bytes:
        return b"data: " + _encode({**self._base, "choices": [{"index": 0, "delta": delta}]}) + b"\n\n"
