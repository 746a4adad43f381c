"""Reads the answer of a language model's endpoint by the vendor's rules, which are stricter than OpenAI's clients are. Pure.

https://www.zegocloud.com/docs/aiagent-server/guides/use-your-own-llm-service
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

__all__ = ["ChatStreamReader", "ResponsesStreamReader", "StreamProblem", "StreamReader"]

PREFIX = "data: "


class StreamProblem(Exception):
    """The answer breaks a rule; what it says is which one, and what the line should have been."""


class StreamReader(Protocol):
    """Takes an answer line by line."""

    def line(self, line: str) -> str:
        """The text that a line adds to the answer.

        Raises:
            StreamProblem: if the line breaks a rule.
        """
        ...

    def end(self) -> None:
        """The connection has ended.

        Raises:
            StreamProblem: if the answer is not complete.
        """


class ChatStreamReader:
    """Of chat completions (Vendor OpenAIChat)."""

    def __init__(self) -> None:
        self._stopped = False
        self._done = False

    def line(self, line: str) -> str:
        """The text that a line adds to the answer.

        Raises:
            StreamProblem: if the line breaks a rule.
        """
        if not line:
            return ""
        payload = _payload(line)
        if self._done:
            raise StreamProblem(f"nothing may follow data: [DONE], but {_short(line)} did")
        if payload == "[DONE]":
            if not self._stopped:
                raise StreamProblem(
                    'data: [DONE] came, but no chunk before it had "finish_reason": "stop"; add it for models that send none'
                )
            self._done = True
            return ""
        chunk = _object(payload)
        if chunk.get("object") != "chat.completion.chunk":
            raise StreamProblem(f'a chunk must have "object": "chat.completion.chunk", not {chunk.get("object")!r}')
        choices = chunk.get("choices")
        if not choices:
            return ""  # of usage, for instance
        return self._choice(choices)

    def _choice(self, choices: Any) -> str:
        try:
            choice: dict[str, Any] = dict(choices[0])
            delta: dict[str, Any] = dict(choice.get("delta") or {})
        except (TypeError, ValueError, KeyError) as error:
            raise StreamProblem("a chunk must have choices[0].delta") from error
        content = delta.get("content") or ""
        if not isinstance(content, str):
            raise StreamProblem(f"choices[0].delta.content must be a text, not {content!r}")
        reason = choice.get("finish_reason")
        if self._stopped and (content or reason):
            raise StreamProblem('nothing may follow the chunk with "finish_reason": "stop" but data: [DONE]')
        if reason == "stop":
            self._stopped = True
        elif reason:
            raise StreamProblem(f'"finish_reason" must be empty or absent, and "stop" in the last chunk; it was {reason!r}')
        return content

    def end(self) -> None:
        """The connection has ended.

        Raises:
            StreamProblem: if the answer is not complete.
        """
        if not self._stopped:
            raise StreamProblem('the answer ended without a chunk with "finish_reason": "stop"')
        if not self._done:
            raise StreamProblem("the answer ended without data: [DONE] and a line break")


class ResponsesStreamReader:
    """Of the Responses API (Vendor OpenAIResponses), as OpenAI describes its events."""

    def __init__(self) -> None:
        self._completed = False

    def line(self, line: str) -> str:
        """The text that a line adds to the answer.

        Raises:
            StreamProblem: if the line breaks a rule.
        """
        if not line or line.startswith("event: "):
            return ""
        payload = _payload(line)
        if payload == "[DONE]":
            return ""
        event = _object(payload)
        match event.get("type"):
            case "response.output_text.delta":
                return str(event.get("delta") or "")
            case "response.completed":
                self._completed = True
            case "response.failed" | "response.incomplete" | "error":
                raise StreamProblem(f"the model reports {event['type']}")
            case _:
                pass
        return ""

    def end(self) -> None:
        """The connection has ended.

        Raises:
            StreamProblem: if the answer is not complete.
        """
        if not self._completed:
            raise StreamProblem("the answer ended without a response.completed event")


def _payload(line: str) -> str:
    if not line.startswith(PREFIX):
        raise StreamProblem(f"each line must begin with {PREFIX!r}, with the blank, which {_short(line)} does not")
    return line.removeprefix(PREFIX)


def _object(payload: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise StreamProblem(f"after {PREFIX!r} comes one JSON object, which {_short(payload)} is not") from error


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
