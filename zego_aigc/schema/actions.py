"""What an Action is: one struct that holds the request and says everything else about it.

The wire format, the types, the checks, the limiter's key, the retry rule, the journal, the sandbox's routing, the
command line and the docs index are all read from the class.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, TypeVar, get_args

import msgspec

from zego_aigc.errors import ConfigurationError
from zego_aigc.schema import pydantic_support, redaction, validation
from zego_aigc.schema.decoding import enc_hook
from zego_aigc.schema.lifecycle import LIFECYCLES, Lifecycle
from zego_aigc.schema.naming import snake, wire

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ACTIONS", "Action", "Repeat", "Result", "Service", "Wire"]


class Service(enum.Enum):
    """Which of the vendor's two services an Action belongs to."""

    if not TYPE_CHECKING:  # which would have it declared as Enum's is
        __hash__ = object.__hash__  # Enum's is written in Python, and every call asks for it

    AI_AGENT = "aiagent"
    """Agents and their instances."""
    DIGITAL_HUMAN = "digitalhuman"
    """Digital humans, voices and stream tasks."""


class Repeat(enum.Enum):
    """What a client may do when a request may have been carried out but no clear answer came."""

    if not TYPE_CHECKING:
        __hash__ = object.__hash__  # as above

    READS = "reads"
    """Send again."""
    OVERWRITES = "overwrites"
    """Send again; "not found" is an error."""
    ENDS = "ends"
    """Send again; "not found", "already stopped" and "shutting down" then mean that it is done."""
    CREATES = "creates"
    """Never blindly: look it up, else raise OutcomeUnknown."""
    ONCE = "once"
    """Never: a repeat would speak twice, cut newer speech or erase newer messages."""


class Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=wire):
    """Base of every struct that goes to the service. ``None`` means "not sent".

    Rules between a struct's own fields are its method ``rules()``, which returns :class:`~zego_aigc.errors.Problem` and
    :class:`~zego_aigc.schema.constraints.Advice` objects, with paths relative to the struct. It is asked of valid values only:
    a field that is not valid by itself is ``None`` there, or empty if it is required, and what is found about it is dropped.
    """

    extra: Mapping[str, Any] | None = None
    """Fields newer than this library, by wire name: ``extra={"NewField": 1}``. They are sent beside the declared ones."""

    @classmethod
    def from_wire(cls, body: Mapping[str, Any], *, unknown: Literal["extra", "error"] = "extra") -> Self:
        """The struct for a body in the vendor's form.

        ``null`` and an absent key mean the same. `unknown` says what becomes of keys that the library does not know:
        ``"extra"`` keeps them in :attr:`extra`, at any level, and ``"error"`` makes them problems.

        Raises:
            InvalidRequest: with every problem of the body.
            ConfigurationError: `unknown` is neither.
        """
        return validation.from_wire(cls, body, unknown=unknown)

    def to_wire(self) -> dict[str, Any]:
        """The body in the vendor's form, as builtins. Unset fields are absent. Secrets are in it."""
        body: dict[str, Any] = validation.to_wire(self)
        return body

    def __repr__(self) -> str:
        return redaction.masked_repr(self)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(redaction.masked_fields(self))


class Result(msgspec.Struct, frozen=True, kw_only=True, rename=wire):
    """Base of every struct that comes back. Fields that this library does not know are passed over.

    It goes into a web framework as it is: FastAPI encodes it by itself, as a return value and as a return annotation, and
    Litestar knows msgspec's structs. JSON holds the vendor's names, as everywhere.
    """

    def to_dict(self) -> dict[str, Any]:
        """The fields by the vendor's names, as builtins. What the service sent is in it, credentials of agents included."""
        return dict(self)

    def to_json(self) -> str:
        """The same as JSON."""
        return msgspec.json.encode(self, enc_hook=enc_hook).decode()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        # What dict() reads, and with it the encoders of web frameworks that know nothing of msgspec.
        fields: dict[str, Any] = msgspec.to_builtins(self, enc_hook=enc_hook)
        return iter(fields.items())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return pydantic_support.core_schema_of(cls)

    @property
    def __pydantic_serializer__(self) -> Any:
        return pydantic_support.serializer_of(type(self))

    if not TYPE_CHECKING:  # to a type checker, taking a result for a map stays the mistake that it is

        def __getitem__(self, name: object) -> NoReturn:
            meant = snake(name) if isinstance(name, str) else name
            there = self.__struct_fields__
            known = f"write result.{meant}" if meant in there else f"it has {', '.join(there)}"
            raise TypeError(
                f"{type(self).__name__} is read by attributes and not by keys: {known}; to_dict() makes a map of it"
            )

    async def __aenter__(self) -> NoReturn:
        raise ConfigurationError(
            f"{type(self).__name__} is what a call has returned, and nothing that ends: in the place of "
            "'async with await client.call(create)' write 'async with client.agent(create)' (or digital_human_agent, "
            "live_digital_human_agent, stream_task), which deletes at the end of the block what it has made"
        )

    async def __aexit__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        return redaction.masked_repr(self)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(redaction.masked_fields(self))


ResultT_co = TypeVar("ResultT_co", covariant=True)

ACTIONS: dict[str, type[Action[Any]]] = {}
"""Every Action's class by its vendor name."""


class Action(Wire, Generic[ResultT_co], frozen=True, kw_only=True):
    """Base of every request. The class's name is the vendor's Action name.

    ``await client.call(action)`` sends it and returns the type in brackets: a ``CreateAgentInstance`` is an
    ``Action[CreatedAgentInstance]``. ``Action[None]`` returns nothing.
    """

    service: ClassVar[Service]
    """Which service answers it."""
    repeat: ClassVar[Repeat]
    """How a lost answer may be handled."""
    page: ClassVar[str]
    """The vendor's page."""
    result: ClassVar[Any]
    """The type of ``Data``, taken from the brackets; ``None`` where the vendor returns no data."""
    lifecycle: ClassVar[Lifecycle | None] = None
    """How what it makes lives and ends; ``None`` where it makes nothing."""

    def repeatable(self) -> Repeat:
        """How a lost answer to this very request may be handled. An Action overrides it where a field decides."""
        return self.repeat

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            (result,) = get_args(base) or (None,)
            if not isinstance(result, TypeVar):
                cls.result = None if result is type(None) else result
                ACTIONS[cls.__name__] = cls
                if cls.lifecycle is not None:
                    LIFECYCLES[cls.__name__] = cls.lifecycle
