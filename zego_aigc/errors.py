"""Every error that the library raises.

::

    ZegoError
     +-- InvalidRequest         the request breaks a documented rule; nothing was sent
     +-- TransportError         no answer from the service
     |    +-- ConnectFailed     no connection: nothing was sent
     |    +-- TimedOut          the call's deadline passed
     |    +-- BadResponse       an answer that is not the service's
     +-- OutcomeUnknown         the work may or may not have been done
     +-- RegistryError          the register of what is live cannot be used
     +-- TooManyLive            an owner has as many live instances as it may
     +-- ApiError               the service refused
          +-- AuthenticationError, AccessDenied, BadParameter, NotFound, AlreadyExists,
              Conflict, QuotaExceeded, RateLimited, ServiceUnavailable

A :class:`ConnectFailed`, an :class:`InvalidRequest` and an :class:`ApiError` prove that the work was not done, with two
exceptions: the codes that the vendor calls failures of its own (:class:`ServiceUnavailable`), and Actions that may be
repeated (``OVERWRITES``, ``ENDS``), of which an attempt before the last one may have been carried out.
All errors pickle and copy. None carries a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "ApiError",
    "AuthenticationError",
    "BadParameter",
    "BadResponse",
    "ConfigurationError",
    "Conflict",
    "ConnectFailed",
    "InvalidRequest",
    "NotFound",
    "OutcomeUnknown",
    "Problem",
    "QuotaExceeded",
    "RateLimited",
    "RegistryError",
    "ServiceUnavailable",
    "TimedOut",
    "TooManyLive",
    "TransportError",
    "VendorAdvice",
    "ZegoError",
]


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request."""

    path: str
    """Where, in wire names: ``RTC.RoomId``, ``MessageHistory.Messages[3].Role``. Empty for the request as a whole."""
    rule: str
    """Which rule is broken: ``required``, ``unknown``, ``type``, ``range``, ``length``, ``bytes``, ``characters``,
    ``items``, ``choice``, ``encoding``, or the name of a rule between fields."""
    message: str
    """What is wrong and what is allowed. A secret's value is never in it."""

    def at(self, path: str) -> Problem:
        """The same, found somewhere else."""
        return Problem(path, self.rule, self.message)

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class VendorAdvice(UserWarning):
    """The request is allowed and is sent, but the vendor's pages advise against it or say that it has no effect."""


class ZegoError(Exception):
    """Base of every error that the library raises on purpose."""

    def __init__(self, message: str = "", /, **facts: object) -> None:
        super().__init__(message)
        self.__dict__.update(facts)

    def __reduce__(self) -> tuple[Any, ...]:
        # Facts live in __dict__ and may be keyword-only for __init__, so they are restored beside it.
        return _restore, (type(self), self.args, dict(self.__dict__))


def _restore(kind: type[ZegoError], args: tuple[Any, ...], facts: dict[str, Any]) -> ZegoError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class ConfigurationError(ZegoError, ValueError):
    """The library is set up or used in a way that cannot work: a missing credential, a closed client, another loop."""


class InvalidRequest(ZegoError, ValueError):
    """The request breaks documented rules. Nothing was sent and no limiter token was spent."""

    problems: Sequence[Problem]
    """Every problem found, in the order of the fields."""
    action: str
    """The vendor's name of the Action."""

    def __init__(self, problems: Sequence[Problem], /, *, action: str = "") -> None:
        count = len(problems)
        head = f"{action or 'request'} is not valid ({count} problem{'s' if count != 1 else ''})"
        super().__init__("\n  ".join([f"{head}:", *map(str, problems)]), problems=tuple(problems), action=action)


class TransportError(ZegoError):
    """No answer of the service was received."""

    action: str = ""
    """The vendor's name of the Action."""
    attempts: int = 0
    """How many times the request was tried."""
    close_code: int | None = None
    """Of an audio WebSocket that the service closed: the code that it gave."""
    close_reason: str = ""
    """And the reason."""


class ConnectFailed(TransportError):
    """No connection could carry the request: nothing was sent. The message names the host."""

    host: str | None = None
    """The host that could not be reached, with its port unless that is 80 or 443."""


class TimedOut(TransportError, TimeoutError):
    """A time limit passed, which the message names.

    Raised only where that is harmless: nothing was sent, or the Action may be repeated.
    """

    waited_for: str = ""
    """What the time went into: ``limiter``, ``before_send``, ``connect``, ``answer``, ``retry``, ``streaming``,
    ``write`` (of audio) or ``callback``."""


class BadResponse(TransportError):
    """An answer that is not the service's: HTML of a gateway, broken JSON, a wrong shape, too large, a redirect."""

    status: int = 0
    """The HTTP status."""
    excerpt: str = ""
    """The beginning of what was received, as one clean line."""
    retry_after: float | None = None
    """Seconds that the answer asked to wait, where it did."""


class OutcomeUnknown(ZegoError):
    """The request may have been carried out and no clear answer came. It was not repeated, since a repeat could do harm.

    ``__cause__`` says what happened, and :attr:`advice` what settles the matter: that depends on the Action.
    """

    action: Any
    """The Action (the struct) whose outcome is unknown."""
    advice: str = ""
    """What settles it: a look-up, a callback, or time (an agent instance without its user in the room ends by itself after
    MaxIdleTime)."""
    attempts: int = 0
    """How many times the request was tried."""


class RegistryError(ZegoError):
    """The register of what is live cannot be read or written. The message says whether anything was sent."""


class TooManyLive(ZegoError):
    """An owner has as many live instances as it may have. Nothing was sent."""

    owner: str
    """The owner that was given to the create."""
    limit: int
    """How many it may have."""


class ApiError(ZegoError):
    """The service answered with a ``Code`` other than 0.

    It speaks of the last attempt. Of an Action that is sent again after a lost answer (``OVERWRITES``, ``ENDS``), an earlier
    attempt may have been carried out when :attr:`attempts` is more than 1.
    """

    code: int
    """The vendor's return code."""
    name: str
    """The library's name for the code, such as ``AgentNotFound``; ``Unknown`` for one that it has never heard of."""
    advice: str
    """What to do about it."""
    retryable: bool
    """Whether the same call, unchanged, may succeed a moment later. That says nothing about harm: see
    :class:`~zego_aigc.Repeat`."""
    message: str
    """The vendor's ``Message``, which is free text, as one line of at most 1000 characters."""
    request_id: str | None
    """The vendor's ``RequestId``: quote it to support."""
    action: str
    """The vendor's name of the Action."""
    attempts: int
    """How many times the request was tried."""
    status: int
    """The HTTP status of the answer."""
    data: Mapping[str, Any] | None
    """The answer's ``Data``, where there was any."""
    retry_after: float | None = None
    """Seconds that the service asked to wait, where it did."""

    def __init__(
        self,
        *,
        code: int,
        name: str = "Unknown",
        advice: str = "",
        retryable: bool = False,
        message: str = "",
        request_id: str | None = None,
        action: str = "",
        attempts: int = 1,
        status: int = 200,
        data: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        text = f"{action or 'the call'} was refused: {name} ({code})"
        # Some messages begin with the code's name.
        if said := message.removeprefix(name).lstrip(": "):
            text += f": {said}"
        if advice:
            text += f". {advice}"
        if request_id:
            text += f" [RequestId {request_id}]"
        super().__init__(
            text,
            code=code,
            name=name,
            advice=advice,
            retryable=retryable,
            message=message,
            request_id=request_id,
            action=action,
            attempts=attempts,
            status=status,
            data=data,
            retry_after=retry_after,
        )


class AuthenticationError(ApiError):
    """AppId, ServerSecret, signature or clock are not accepted."""


class AccessDenied(ApiError):
    """The account lacks the service, the permission or the trial."""


class BadParameter(ApiError):
    """The service does not accept a value in the request."""


class NotFound(ApiError):
    """The agent, instance, task, digital human or timbre does not exist (any more)."""


class AlreadyExists(ApiError):
    """The id is taken."""


class Conflict(ApiError):
    """The object is not in a state in which the call is allowed."""


class QuotaExceeded(ApiError):
    """The account holds as many live instances as it may."""


class RateLimited(ApiError):
    """More calls than the limit allows reached the service in a second, or it is busy."""


class ServiceUnavailable(ApiError):
    """The service failed or is out of resources. Unless it says that it is busy or full, the work may be half done."""
