"""What a call asks for, apart from the Action's fields. Pure."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from zego_aigc.errors import ConfigurationError
from zego_aigc.schema.actions import ACTIONS, Action, Repeat
from zego_aigc.schema.fields import fields_of
from zego_aigc.schema.lifecycle import Recovery
from zego_aigc.schema.naming import did_you_mean
from zego_aigc.schema.redaction import mask_map

if TYPE_CHECKING:
    from zego_aigc.schema.lifecycle import Lifecycle

__all__ = ["RawAction", "Request", "not_an_action", "request_for", "required_fields"]


class Request(msgspec.Struct, frozen=True):
    """What the library needs to know of a request to send it, interpret its response and repeat it."""

    name: str
    """The vendor's name of the Action."""
    repeat: Repeat
    result: Any
    """The type of Data."""
    creates: bool
    never_blindly: bool
    """Whether a request that may have been carried out must not be sent again as if nothing were."""
    look_up: Recovery | None = None
    """How to look up what it made, if it makes something that the service shows."""

    @classmethod
    def of(cls, name: str, repeat: Repeat, result: Any, lifecycle: Lifecycle | None = None) -> Request:
        """A request of that name, rule, result type and lifecycle of what it makes."""
        creates = repeat is Repeat.CREATES
        look_up = lifecycle.recovery if lifecycle is not None and lifecycle.recovery in _SHOWN else None
        return cls(name, repeat, result, creates, creates or repeat is Repeat.ONCE, look_up)


_SHOWN = frozenset({Recovery.COMPARE, Recovery.FIND})
_as_declared = Action[Any].repeatable


def request_for(action: Action[Any]) -> Request:
    """The request that an Action makes.

    Raises:
        ConfigurationError: it is none.
    """
    kind = type(action)
    try:
        if kind.repeatable is _as_declared:
            return _request(kind)
        return _request(kind, action.repeatable())
    except AttributeError:
        raise not_an_action(action) from None


@functools.cache
def _request(kind: type[Action[Any]], repeat: Repeat | None = None) -> Request:
    return Request.of(kind.__name__, repeat or kind.repeat, kind.result, kind.lifecycle)


def not_an_action(value: object) -> ConfigurationError:
    """The error for something that was given in the place of an Action; it says what to write instead."""
    match value:
        case type():
            name = value.__name__
            what = f"the class {name}: make a request of it, {name}({required_fields(value)})"
        case str():
            known = name if (name := value) in ACTIONS else "QueryAgents"
            hint = "" if value in ACTIONS else did_you_mean(value, ACTIONS)
            what = f"the text {value!r}{hint}: write client.call({known}(...)), or client.call_raw({known!r}, body)"
        case Mapping():
            what = (
                "a map: make a request of it, such as RegisterAgent(agent_id=...), or RegisterAgent.from_wire(body) where it "
                "is in the vendor's form; client.call_raw('RegisterAgent', body) sends it unchecked"
            )
        case msgspec.Struct():
            what = f"a {type(value).__name__}, which is only a part of one, or a result"
        case _:
            what = f"a {type(value).__name__}"
    return ConfigurationError(f"a call takes an Action, such as ListAgents(), and not {what}")


def required_fields(cls: type) -> str:
    """The fields that a request must have, as they are written in a call: ``agent_id=..., name=...``."""
    fields = fields_of(cls) if issubclass(cls, msgspec.Struct) else ()
    return ", ".join(f"{spec.attribute}=..." for spec in fields if spec.required)


class RawAction:
    """The request of a ``call_raw``: the vendor's name of an Action, and a body in wire form."""

    __slots__ = ("body", "name")

    lifecycle: ClassVar[None] = None
    """As an Action has it: of what it makes nothing is known."""

    def __init__(self, name: str, body: dict[str, Any]) -> None:
        self.name: str = name
        self.body: dict[str, Any] = body

    def __repr__(self) -> str:
        return f"RawAction({self.name!r}, {mask_map(self.body)!r})"
