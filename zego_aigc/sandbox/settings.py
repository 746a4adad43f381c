"""What may be set about an app: quotas, rates, durations, callbacks, models. Each is an attribute of the app afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from zego_aigc.sandbox.catalogue import Catalogue
from zego_aigc.schema.naming import did_you_mean

if TYPE_CHECKING:
    from zego_aigc.sandbox.conversation import Question

__all__ = ["DEFAULT_CALLBACK_SECRET", "Pace", "Quotas", "RateRefusal", "Settings", "check_count", "check_names", "quotas_of"]

DEFAULT_CALLBACK_SECRET = "sandbox-callback-secret"  # noqa: S105 - guards nothing but a sandbox


class Quotas(msgspec.Struct, kw_only=True):
    """How many of each kind may live at once; ``None`` is no bound. The vendor starts every account with 10."""

    agents: int | None = 10
    """Voice agent instances."""
    digital_humans: int | None = 10
    """Digital human agent instances, live ones included."""
    streams: int | None = 10
    """Digital human stream tasks."""

    def __post_init__(self) -> None:
        for kind in self.__struct_fields__:
            check_count(kind, getattr(self, kind))


class Pace(msgspec.Struct, kw_only=True):
    """How long things take, in seconds on the sandbox's clock."""

    join: float = 0.2
    """From the creation of an instance until it is in its room and publishes."""
    think: float = 0.4
    """From a question until the answer is spoken."""
    character: float = 0.08
    """Speaking one character."""
    stream_start: float = 0.3
    """From the creation of a stream task until it streams."""
    stream_stop: float = 0.2
    """From a stop until a stream task is gone."""
    audio: float = 3.0
    """Playing an audio file, whose length the sandbox cannot know."""


class RateRefusal(msgspec.Struct):
    """How a service refuses a call that is over the rate limit."""

    code: int
    status: int = 200
    """The HTTP status."""


class Settings(TypedDict, total=False):
    """Settings of an account; each is an attribute of :class:`~zego_aigc.sandbox.App` afterwards."""

    quota: int | Mapping[str, int | None] | Quotas | None
    """How many agents, digital humans and streams each may live at once: one number for all (10), a mapping, or None for no
    bound. Afterwards ``app.quotas``."""
    rate_limit: int | None
    """Calls per Action in any `rate_window` seconds (10); None for no limit."""
    rate_window: float
    """In seconds (1)."""
    callback_url: str | None
    """Where callbacks go; None has them recorded only."""
    callback_urls: Mapping[str, str]
    """More addresses, by CallbackConfig.HostTag."""
    remote_callbacks: bool
    """Whether callbacks may leave this machine (False). Otherwise those to other addresses are recorded as blocked."""
    callback_secret: str
    """What callbacks are signed with."""
    pace: Pace
    """How long things take."""
    catalogue: Catalogue
    """The digital humans and voices that exist."""
    reply: Callable[[Question], str] | None
    """Stands in for every language model: takes a :class:`Question`, returns what the agent answers, or raises
    :class:`ModelFailure`. Without it (None), an LLM.Url on this machine is called, and others answer "You said: ..."."""
    llm: bool
    """Whether an LLM.Url on other machines is called, too (False): that may cost, and shows them what is said."""
    exceptions_at_end: bool
    """Whether instances that end by themselves send their Code as an Exception event, too (False): the vendor's pages
    have both."""


def check_names(settings: Mapping[str, Any]) -> None:
    """See to it that there are such settings.

    Raises:
        TypeError: for one that there is not.
    """
    if unknown := settings.keys() - Settings.__optional_keys__:
        known = ", ".join(sorted(Settings.__optional_keys__))
        meant = did_you_mean(min(unknown), Settings.__optional_keys__) or f"; there are {known}"
        raise TypeError(f"no setting is called {', '.join(sorted(unknown))}{meant}")


def quotas_of(quota: int | Mapping[str, int | None] | Quotas | None) -> Quotas:
    """The quotas that the setting ``quota`` stands for.

    Raises:
        ValueError: for one that cannot be.
    """
    if isinstance(quota, Quotas):
        return quota
    if isinstance(quota, Mapping):
        return Quotas(**quota)
    return Quotas(agents=quota, digital_humans=quota, streams=quota)


def check_count(name: str, count: Any) -> None:
    """See to it that a bound is one.

    Raises:
        ValueError: if it is neither a number from 0 on nor None.
    """
    if count is not None and not (isinstance(count, int) and count >= 0):
        raise ValueError(f"{name} must be a number from 0 on, or None for no bound, not {count!r}")
