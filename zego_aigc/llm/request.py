"""What the service asks a model of your own. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

__all__ = ["AgentInfo", "BadRequest", "ChatRequest", "parse_request"]


class BadRequest(Exception):
    """The body is a request of neither protocol; the message says what is wrong."""


class AgentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Which conversation a request belongs to. The service sends it with ``LLM(add_agent_info=True)``.

    ``client.attach(info.agent_instance_id)`` gives the handle of the conversation.
    """

    room_id: str | None = None
    """The RTC room."""
    user_id: str | None = None
    """The user who talks."""
    agent_instance_id: str | None = None
    """The agent instance."""
    agent_user_id: str | None = None
    """The agent's user id in the room."""
    round_id: int | None = None
    """The round of the conversation that asks; callbacks carry it as Round."""
    time_stamp: int | None = None
    """When it was asked: Unix time in milliseconds."""


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request of the service, in chat completions or to the Responses API."""

    messages: Sequence[Mapping[str, Any]] = ()
    """As in chat completions, in either protocol: the system prompt first, then the history in order, the newest user message
    last."""
    model: str = ""
    """LLM.Model."""
    agent_info: AgentInfo | None = None
    """Which conversation it belongs to, with ``LLM(add_agent_info=True)``."""
    agent_extra_info: Mapping[str, Any] | None = None
    """LLM.AgentExtraInfo as given."""
    extra: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """All else: temperature, top_p, everything in LLM.Params (max_tokens, tools ...), and what is newer than this library."""
    protocol: Literal["OpenAIChat", "OpenAIResponses"] = "OpenAIChat"
    """LLM.Vendor: in which protocol it was asked, and is answered. ``OpenAIResponses`` brings no `agent_info`."""

    @property
    def text(self) -> str:
        """What the user said last; empty if the last message is no text of the user's."""
        last: Mapping[str, Any] = self.messages[-1] if self.messages else {}
        content = last.get("content")
        return content if last.get("role") == "user" and isinstance(content, str) else ""

    @property
    def parameters(self) -> dict[str, Any]:
        """For an upstream's client: ``create(messages=request.messages, stream=True, **request.parameters)``.

        Those of LLM.Params are as given: what they are called depends on the protocol.
        """
        return {"model": self.model, **self.extra}


def parse_request(body: bytes) -> ChatRequest:
    """Read a request's body.

    Raises:
        BadRequest: it is no JSON object with messages, or with an input.
    """
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON object: {error}") from None
    responses = "messages" not in fields and "input" in fields
    messages = _messages_of_input(fields) if responses else fields.pop("messages", None)
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):  # pyright: ignore[reportUnknownVariableType] - free-form JSON
        raise BadRequest("messages (in chat completions) or input (of the Responses API) must be a list of objects")
    fields.pop("stream", None)  # it is always streamed
    model = fields.pop("model", "")
    info = fields.pop("agent_info", None)
    more = fields.pop("agent_extra_info", None)
    return ChatRequest(
        messages=messages,  # pyright: ignore[reportUnknownArgumentType] - free-form JSON
        model=model if isinstance(model, str) else "",
        agent_info=_agent_info(info),
        agent_extra_info=more if isinstance(more, dict) else None,  # pyright: ignore[reportUnknownArgumentType]
        extra=fields,
        protocol="OpenAIResponses" if responses else "OpenAIChat",
    )


def _messages_of_input(fields: dict[str, Any]) -> Any:
    """The messages of a request to the Responses API: its instructions and its input, taken out of its fields."""
    instructions, given = fields.pop("instructions", None), fields.pop("input")
    messages: Any = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(messages, list):
        return None
    system: list[Any] = [{"role": "system", "content": instructions}] if instructions else []
    return system + [_message(item) for item in messages]  # pyright: ignore[reportUnknownVariableType] - free-form JSON


def _message(item: Any) -> Any:
    """An item of an input, with its text as text: there it may stand in parts."""
    if not isinstance(item, dict) or not isinstance(parts := item.get("content"), list):  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - free-form JSON
        return item  # pyright: ignore[reportUnknownVariableType]
    texts: list[Any] = [part.get("text") if isinstance(part, dict) else None for part in parts]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return {**item, "content": "".join(texts)} if all(isinstance(text, str) for text in texts) else item  # pyright: ignore[reportUnknownVariableType]


def _agent_info(value: Any) -> AgentInfo | None:
    """Odd fields are left out: a conversation must not fall silent over one."""
    if not isinstance(value, dict):
        return None
    known: dict[str, Any] = {}
    for field in msgspec.structs.fields(AgentInfo):
        try:
            known[field.name] = msgspec.convert(value.get(field.name), field.type, strict=False)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        except msgspec.ValidationError:
            continue
    return AgentInfo(**known)
