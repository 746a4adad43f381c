"""The vendor's codes as data: what each means here, whether asking again can help, and what to do about it.

Two kinds of code exist. A *return code* is the ``Code`` of an answer to a call: 0 is success, and every other one becomes an
:class:`~zego_aigc.errors.ApiError` through :func:`api_error`. An *exception code* is the ``Code`` of an ``Exception``
callback and the reason in an ``AgentInstanceDeleted`` callback. The names are this library's, since the vendor gives none.

Vendor's pages:
https://www.zegocloud.com/docs/aiagent-server/api-reference/return-codes
https://www.zegocloud.com/docs/aigc-digital-human-server/streaming-apis/return-codes
https://www.zegocloud.com/docs/aiagent-server/callbacks/exception-codes
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.errors import (
    AccessDenied,
    AlreadyExists,
    ApiError,
    AuthenticationError,
    BadParameter,
    Conflict,
    NotFound,
    QuotaExceeded,
    RateLimited,
    ServiceUnavailable,
)
from zego_aigc.schema.lifecycle import LIFECYCLES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "EXCEPTION_CODES",
    "RETURN_CODES",
    "ExceptionCode",
    "ReturnCode",
    "api_error",
    "error_class",
    "is_over",
    "meaning_of",
]


class ReturnCode(msgspec.Struct, frozen=True):
    """The ``Code`` of an answer."""

    code: int
    name: str
    """The library's name, such as ``AgentNotFound``."""
    service: str
    """Which service answers with it: ``aiagent``, ``digitalhuman``, or ``common`` for the gateway before both."""
    why: str
    """The kind of failure, one word: what the client's retry rules and :func:`error_class` go by."""
    advice: str
    """What to do about it."""

    @property
    def retryable(self) -> bool:
        """Whether the same call, unchanged but freshly signed, may succeed a moment later.

        That says nothing about harm: whether it may be sent again is the Action's :class:`~zego_aigc.schema.actions.Repeat`.
        """
        return self.why in _PASSING

    @property
    def after_fix(self) -> bool:
        """Whether the call may succeed once something is put right: the request, the account, or what it refers to."""
        return self.why not in _PASSING and self.why not in _FINAL


class ExceptionCode(msgspec.Struct, frozen=True):
    """The ``Code`` of an ``Exception`` or ``AgentInstanceDeleted`` callback."""

    code: int
    name: str
    """The library's name, such as ``LlmAuthFailed``."""
    domain: str
    """Where it went wrong: ``agent``, ``im`` (chat), ``rtc``, ``asr``, ``llm`` or ``tts``."""
    advice: str
    """What to do about it."""
    ends_instance: bool = False
    """Whether it is also a reason for which the vendor deletes an instance."""


_PASSING = frozenset({"transient", "ratelimit", "busy", "capacity", "wait", "resign"})
"""Kinds of failure that pass by themselves."""

_FINAL = frozenset({"success", "gone", "exists", "done", "closing", "stale", "forbidden"})
"""Kinds after which there is nothing to try: the matter is settled, one way or the other."""


# --- return codes ------------------------------------------------------------------------------------------------

_AGAIN = "Try again after a short wait; if it stays, give the RequestId to the vendor's support."
_OUR_SIDE = (
    "The library always sends it: look for a proxy that rewrites the URL, or give the RequestId to the vendor's support."
)
_FIX = "Correct the parameter that the message names."

_GATEWAY = (
    (0, "Success", "success", "Nothing needs to be done."),
    (100000000, "BadHostHeader", "request", "Set the base URL to a host of the vendor's; let no proxy change it."),
    (100000001, "BadAppIdFormat", "request", "Take the AppId from the vendor's console: it is a 32-bit number."),
    (100000002, "TimestampMissing", "request", _OUR_SIDE),
    (100000003, "BadTimestampFormat", "request", "Sign with a Unix time in whole seconds."),
    (100000004, "SignatureExpired", "resign", "Set this machine's clock (at most 600 s off) and sign anew."),
    (
        100000005,
        "SignatureMismatch",
        "credentials",
        "Check that the ServerSecret, 32 letters and digits, is of this AppId's project.",
    ),
    (100000006, "ActionMissing", "request", _OUR_SIDE),
    (100000007, "UnsupportedAction", "request", "Check the Action's spelling, and which service has it."),
    (100000008, "NonceMissing", "request", _OUR_SIDE),
    (100000009, "SignatureMissing", "request", _OUR_SIDE),
    (100000010, "ServerSecretLookupFailed", "credentials", "Check the AppId: the vendor has no ServerSecret for it."),
    (100000011, "AppConfigLookupFailed", "credentials", "Check the AppId; if it is right, ask the vendor's support."),
    (100000012, "BodyReadFailed", "transient", _AGAIN),
    (100000013, "SignatureVersionMissing", "request", _OUR_SIDE),
    (100000014, "UnsupportedSignatureVersion", "request", "Send SignatureVersion 2.0."),
    (100000015, "GatewayInternalError", "transient", _AGAIN),
    (100000017, "ServiceNotEnabled", "account", "Have the service switched on for this AppId."),
)

_AI_AGENT = (
    (410000001, "SystemError", "transient", _AGAIN),
    (410000002, "InvalidAppId", "credentials", "Take the AppId from the vendor's console."),
    (410000003, "InvalidParameter", "request", _FIX),
    (410000004, "JsonParseFailed", "request", "Send one JSON object as the body."),
    (410000005, "GatewayAuthFailed", "account", "Check that AI Agent is enabled for this AppId and ServerSecret."),
    (410000006, "AppServiceNotEnabled", "account", "Have AI Agent switched on for this AppId by the vendor's support."),
    (410000009, "InternalCallFailed", "transient", _AGAIN),
    (410000010, "InsufficientServiceResources", "capacity", "Try again in some seconds: the service is full."),
    (410000011, "InstanceConcurrencyLimit", "quota", "Delete an instance, or have the limit raised by the vendor's support."),
    (410000014, "InvalidDigitalHumanParameter", "request", "Correct the DigitalHuman object as the message says."),
    (410001002, "AgentInstanceNotFound", "gone", "Treat the instance as ended, and create another if it is needed."),
    (410001003, "AgentInstanceCreateFailed", "transient", "See whether it came up before creating it again."),
    (410001004, "AgentInstanceModifyFailed", "transient", _AGAIN),
    (410001005, "AgentInstanceDeleteFailed", "transient", "Delete it again: it is billed until that succeeds."),
    (410001006, "SendLLMFailed", "transient", "Listen whether the agent answers before asking again."),
    (410001007, "SendTTSFailed", "transient", "Listen whether the agent speaks before repeating the text."),
    (410001008, "AgentAlreadyExists", "exists", "Use the registered agent, change it with UpdateAgent, or choose another id."),
    (410001009, "AgentNotFound", "register", "Register the agent first, and check the AgentId."),
    (410001010, "MessageHistoryLoadFailed", "transient", "Try again; check that ZIM is enabled if the history is its."),
    (410001011, "AgentInstanceUpdateFailed", "transient", _AGAIN),
    (410001013, "AgentIsListening", "state", "Call StopListening first, or wait for the user to finish."),
    (410001016, "UserNotFound", "join", "Wait until the user has joined the room; check the UserId."),
    (410001022, "GetContextFailed", "transient", _AGAIN),
    (410001023, "ResetContextFailed", "transient", "Read the message list before resetting it again."),
    (410001024, "InterruptFailed", "transient", "Look at the instance's status before interrupting again."),
    (410001025, "DigitalHumanInsufficientResources", "capacity", "Try again in some seconds: the service is full."),
    (410001026, "DigitalHumanConfigIdUnsupported", "request", "Set DigitalHuman.ConfigId to mobile or web."),
    (410001027, "DigitalHumanIdIncorrect", "request", "Take the DigitalHumanId from GetDigitalHumanList."),
    (410001028, "DigitalHumanInstanceCreateFailed", "transient", "See whether it came up before creating it again."),
    (410001029, "DigitalHumanRateLimited", "ratelimit", "Make fewer digital human calls a second."),
    (410001030, "DigitalHumanStreamIdDuplicate", "duplicate", "Choose another AgentStreamId, or end the instance that has it."),
    (
        410001031,
        "DigitalHumanConcurrencyLimit",
        "quota",
        "Delete an instance, or have the limit raised by the vendor's support.",
    ),
    (410001032, "DigitalHumanSystemError", "transient", _AGAIN),
    (410001033, "LLMTestAccountExpired", "account", "Replace zego_test in LLM.ApiKey by a key of your provider."),
    (410001034, "TTSTestAccountExpired", "account", "Replace zego_test in TTS.Params.app by your vendor's credentials."),
    (410001035, "AppTestAccountExpired", "account", "Have the AppId's trial extended or turned into a paid account."),
    (410001041, "InstanceShuttingDown", "closing", "Leave the instance alone: it is ending."),
    (410001042, "NotWalkieTalkieMode", "mode", "Create the instance with AdvancedConfig.CommunicationMode 2."),
    (410001043, "SequenceOutdated", "stale", "Pass a Sequence above the last, or drop the event if a newer one was sent."),
    (410001044, "StartListeningFailed", "transient", "Try again with the next Sequence."),
    (410001045, "StopListeningFailed", "transient", "Try again with the next Sequence."),
    (410001046, "UserNotPublishing", "publish", "Start listening once the user publishes the UserStreamId."),
    (
        410001047,
        "TestKeyUrlMismatch",
        "request",
        "With zego_test use a Url and Model of the vendor's list; else a key of your own.",
    ),
    (410001048, "DigitalHumanNotOwnedByApp", "request", "Choose a digital human that is public or this AppId's own."),
    (410001049, "LiveInstanceOperationForbidden", "forbidden", "Use only SendAgentInstanceTTS and DeleteAgentInstance."),
)

_DIGITAL_HUMAN = (
    (400000001, "InvalidParameter", "request", _FIX),
    (400000002, "ServiceNotEnabled", "account", "Have Digital Human switched on for this AppId by the vendor's support."),
    (400000003, "DigitalHumanNotFound", "request", "Take the DigitalHumanId from GetDigitalHumanList."),
    (400000004, "TimbreNotFound", "request", "Take the TimbreId from GetTimbreList."),
    (400000005, "TaskNotFound", "gone", "Treat the task as ended, and create another if it is needed."),
    (400000006, "StreamNotStarted", "wait", "Wait until the task's Status is 3 (streaming), then try again."),
    (400000007, "StreamAlreadyStopped", "done", "Nothing needs to be done: the stream task has stopped."),
    (400000008, "StreamConcurrencyLimit", "quota", "Stop a stream task, or have the limit raised by the vendor's support."),
    (400000009, "TimbreUnsupported", "request", "Choose a timbre from GetTimbreList for this DigitalHumanId."),
    (400000010, "DigitalHumanConfigError", "support", "Have the digital human repaired by support, or choose another."),
    (400000015, "StreamIdExists", "duplicate", "Choose another StreamId: that of a stopped task stays taken for a while."),
    (400000016, "ModelVersionError", "support", "Have the digital human updated by support, or choose another."),
    (400010000, "SystemError", "transient", _AGAIN),
    (400010001, "NoCallPermission", "account", "Have this call allowed for the AppId by the vendor's support."),
    (400010002, "SystemBusy", "busy", "Wait some seconds and try again."),
    (400010007, "InsufficientResources", "capacity", "Try again in some seconds: the service is full."),
    (400010009, "RateLimited", "ratelimit", "Make at most 10 calls a second of this Action, over all processes."),
)

RETURN_CODES: dict[int, ReturnCode] = {
    code: ReturnCode(code, name, service, why, advice)
    for service, rows in (("common", _GATEWAY), ("aiagent", _AI_AGENT), ("digitalhuman", _DIGITAL_HUMAN))
    for code, name, why, advice in rows
}
"""Every return code that the vendor documents, by number."""


# --- from a code to an error -------------------------------------------------------------------------------------

_CLASS_BY_KIND: dict[str, type[ApiError]] = {
    "resign": AuthenticationError,
    "credentials": AuthenticationError,
    "account": AccessDenied,
    "request": BadParameter,
    "gone": NotFound,
    "register": NotFound,
    "join": NotFound,
    "exists": AlreadyExists,
    "duplicate": AlreadyExists,
    "state": Conflict,
    "mode": Conflict,
    "stale": Conflict,
    "closing": Conflict,
    "forbidden": Conflict,
    "publish": Conflict,
    "wait": Conflict,
    "done": Conflict,
    "support": Conflict,  # the digital human itself is in a state in which it cannot be streamed
    "quota": QuotaExceeded,
    "ratelimit": RateLimited,
    "busy": RateLimited,
    "transient": ServiceUnavailable,
    "capacity": ServiceUnavailable,
}

_NOT_FOUND = frozenset({"DigitalHumanNotFound", "TimbreNotFound"})
"""Bad values by kind, but what users catch is that the thing is not there."""

_UNKNOWN_ADVICE = "The code is newer than this library: look it up on the vendor's page of return codes."


def meaning_of(code: int, action: str = "") -> ReturnCode | None:
    """What a return code means as the answer to an Action; None if the library does not know it.

    A code may say "full" as the answer to a create though it means something else elsewhere: the Action's lifecycle tells.
    """
    known = RETURN_CODES.get(code)
    life = LIFECYCLES.get(action)
    if known is not None and life is not None and code in life.full_codes:
        documented = RETURN_CODES[life.full_codes[0]]
        return msgspec.structs.replace(known, why=documented.why, advice=documented.advice)
    return known


def error_class(code: int, *, status: int = 200, action: str = "") -> type[ApiError]:
    """The class of the error that a return code becomes.

    A code that the library does not know is judged by the HTTP status: 429 is a rate limit, a 5xx a failure of the service.
    """
    known = meaning_of(code, action)
    if known is not None:
        return NotFound if known.name in _NOT_FOUND else _CLASS_BY_KIND.get(known.why, ApiError)
    if status == 429:
        return RateLimited
    return ServiceUnavailable if status >= 500 else ApiError


def api_error(
    code: int,
    message: str = "",
    request_id: str | None = None,
    action: str = "",
    attempts: int = 1,
    status: int = 200,
    data: Mapping[str, Any] | None = None,
    retry_after: float | None = None,
) -> ApiError:
    """The error for an answer whose ``Code`` is not 0, with everything that the service said.

    Args:
        code: the vendor's ``Code``.
        message: the vendor's ``Message``.
        request_id: the vendor's ``RequestId``.
        action: the Action that was called.
        attempts: how many times it was tried.
        status: the HTTP status.
        data: the answer's ``Data``.
        retry_after: seconds that the service asked to wait.
    """
    known = meaning_of(code, action)
    return error_class(code, status=status, action=action)(
        code=code,
        name="Unknown" if known is None else known.name,
        advice=_UNKNOWN_ADVICE if known is None else known.advice,
        retryable=(status == 429 or status >= 500) if known is None else known.retryable,
        message=message,
        request_id=request_id,
        action=action,
        attempts=attempts,
        status=status,
        data=data,
        retry_after=retry_after,
    )


def is_over(error: ApiError) -> bool:
    """Whether a refused ending says that there is nothing left to end."""
    known = RETURN_CODES.get(error.code)
    return known is not None and known.why in {"gone", "register", "done", "closing"}


# --- exception codes ---------------------------------------------------------------------------------------------

_SHOW_SUPPORT = "Give the event's Message to the vendor's support."

EXCEPTION_CODES: dict[int, ExceptionCode] = {
    entry.code: entry
    for entry in (
        ExceptionCode(1001, "AgentGeneralError", "agent", "Read the event's Message: it says what went wrong."),
        ExceptionCode(1004, "SpeechWithoutText", "asr", "Ignore it, or count it: a voice was heard, no words were recognised."),
        ExceptionCode(1101, "ImGeneralError", "im", _SHOW_SUPPORT),
        ExceptionCode(1201, "RtcGeneralError", "rtc", _SHOW_SUPPORT, ends_instance=True),
        ExceptionCode(
            1202,
            "UserAbsent",
            "rtc",
            "Check that the user joins the room under the UserId given; raise AdvancedConfig.MaxIdleTime if users come late.",
            ends_instance=True,
        ),
        ExceptionCode(
            1203,
            "KickedFromRoom",
            "rtc",
            "Give every instance an AgentUserId of its own, which no real user has.",
            ends_instance=True,
        ),
        ExceptionCode(1204, "RoomLoginFailed", "rtc", _SHOW_SUPPORT, ends_instance=True),
        ExceptionCode(1205, "RoomDisconnected", "rtc", _SHOW_SUPPORT, ends_instance=True),
        ExceptionCode(
            1206,
            "PublishFailed",
            "rtc",
            "Check that no other instance publishes the same AgentStreamId; else give the event's Message to support.",
            ends_instance=True,
        ),
        ExceptionCode(
            1207, "PullFailed", "rtc", "Check that the user publishes the UserStreamId; else give the Message to support."
        ),
        ExceptionCode(1208, "RoomMessageFailed", "rtc", _SHOW_SUPPORT),
        ExceptionCode(2101, "AsrGeneralError", "asr", _SHOW_SUPPORT),
        ExceptionCode(2201, "LlmGeneralError", "llm", "Read the event's Message, and look into your LLM endpoint's log."),
        ExceptionCode(2202, "LlmBadParameter", "llm", "Correct LLM.Url, LLM.Model or LLM.Params as the Message says."),
        ExceptionCode(2203, "LlmAuthFailed", "llm", "Set an LLM.ApiKey that the provider accepts."),
        ExceptionCode(
            2204, "LlmConcurrencyLimit", "llm", "Have the limit raised by your LLM provider, or run fewer conversations."
        ),
        ExceptionCode(2205, "LlmAccountOverdue", "llm", "Settle the account with your LLM provider."),
        ExceptionCode(2206, "LlmContentRejected", "llm", "Review what was said: the LLM provider refused the content."),
        ExceptionCode(2301, "TtsGeneralError", "tts", "Read the event's Message: it says what went wrong."),
        ExceptionCode(2302, "TtsBadParameter", "tts", "Correct TTS.Params as the Message says."),
        ExceptionCode(2303, "TtsAuthFailed", "tts", "Set TTS.Params.app to credentials that the TTS vendor accepts."),
        ExceptionCode(2304, "TtsConcurrencyLimit", "tts", "Have the limit raised by your TTS vendor, or run fewer instances."),
        ExceptionCode(2305, "TtsAccountOverdue", "tts", "Settle the account with your TTS vendor."),
    )
}
"""Every exception code that the vendor documents, by number."""
