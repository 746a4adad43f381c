"""The code tables against the project's own record of what the vendor documents."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from zego_aigc import errors
from zego_aigc.schema.codes import EXCEPTION_CODES, RETURN_CODES, ExceptionCode, ReturnCode, api_error, error_class

DOCUMENTED = json.loads((Path(__file__).parent / "data" / "codes.json").read_text())


def test_every_documented_return_code_is_there_with_service_name_kind_and_retryability() -> None:
    def retryability(code: ReturnCode) -> str:
        return "yes" if code.retryable else "after-fix" if code.after_fix else "never"

    ours = {str(number): [c.service, c.name, c.why, retryability(c)] for number, c in RETURN_CODES.items()}
    assert ours == DOCUMENTED["return_codes"]
    assert len(ours) == 80


def test_every_documented_exception_code_is_there_with_domain_and_name() -> None:
    ours = {str(number): [c.domain, c.name, c.ends_instance] for number, c in EXCEPTION_CODES.items()}
    assert ours == DOCUMENTED["exception_codes"]
    assert len(ours) == 23


@pytest.mark.parametrize("code", [*RETURN_CODES.values(), *EXCEPTION_CODES.values()], ids=lambda c: c.name)
def test_every_code_says_in_a_sentence_or_two_what_to_do(code: ReturnCode | ExceptionCode) -> None:
    assert code.advice[0].isupper()
    assert code.advice.endswith(".")
    assert 20 < len(code.advice) < 140


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SignatureExpired", errors.AuthenticationError),
        ("SignatureMismatch", errors.AuthenticationError),
        ("InvalidAppId", errors.AuthenticationError),
        ("GatewayAuthFailed", errors.AccessDenied),
        ("LLMTestAccountExpired", errors.AccessDenied),
        ("NoCallPermission", errors.AccessDenied),
        ("InvalidParameter", errors.BadParameter),
        ("DigitalHumanIdIncorrect", errors.BadParameter),
        ("AgentNotFound", errors.NotFound),
        ("AgentInstanceNotFound", errors.NotFound),
        ("TaskNotFound", errors.NotFound),
        ("DigitalHumanNotFound", errors.NotFound),
        ("TimbreNotFound", errors.NotFound),
        ("UserNotFound", errors.NotFound),
        ("AgentAlreadyExists", errors.AlreadyExists),
        ("StreamIdExists", errors.AlreadyExists),
        ("DigitalHumanStreamIdDuplicate", errors.AlreadyExists),
        ("AgentIsListening", errors.Conflict),
        ("NotWalkieTalkieMode", errors.Conflict),
        ("SequenceOutdated", errors.Conflict),
        ("InstanceShuttingDown", errors.Conflict),
        ("LiveInstanceOperationForbidden", errors.Conflict),
        ("UserNotPublishing", errors.Conflict),
        ("StreamNotStarted", errors.Conflict),
        ("StreamAlreadyStopped", errors.Conflict),
        ("DigitalHumanConfigError", errors.Conflict),
        ("InstanceConcurrencyLimit", errors.QuotaExceeded),
        ("StreamConcurrencyLimit", errors.QuotaExceeded),
        ("RateLimited", errors.RateLimited),
        ("SystemBusy", errors.RateLimited),
        ("SystemError", errors.ServiceUnavailable),
        ("InsufficientResources", errors.ServiceUnavailable),
    ],
)
def test_a_code_becomes_the_error_that_its_kind_calls_for(name: str, kind: type[errors.ApiError]) -> None:
    codes = [code.code for code in RETURN_CODES.values() if code.name == name]
    assert codes
    assert {error_class(code) for code in codes} == {kind}


def test_every_code_but_success_has_an_error_class_of_its_own() -> None:
    assert [code for code in RETURN_CODES if error_class(code) is errors.ApiError] == [0]


def test_an_error_carries_everything_that_the_service_said_and_the_advice() -> None:
    error = api_error(
        410001009,
        "agent not found",
        request_id="8d1f",
        action="CreateAgentInstance",
        attempts=2,
        status=400,
        data={"AgentId": "a"},
        retry_after=1.5,
    )
    assert isinstance(error, errors.NotFound)
    assert (error.code, error.name, error.message, error.request_id) == (410001009, "AgentNotFound", "agent not found", "8d1f")
    assert (error.action, error.attempts, error.status) == ("CreateAgentInstance", 2, 400)
    assert (error.data, error.retry_after) == ({"AgentId": "a"}, 1.5)
    assert error.advice == RETURN_CODES[410001009].advice
    for part in ("CreateAgentInstance", "AgentNotFound", "410001009", "agent not found", error.advice, "8d1f"):
        assert part in str(error)


def test_an_unknown_code_is_a_plain_api_error_with_everything_that_the_service_said() -> None:
    error = api_error(410009999, "brand new", request_id="r", action="QueryAgents", data={"Hint": 1})
    assert type(error) is errors.ApiError
    assert (error.code, error.name, error.message, error.request_id) == (410009999, "Unknown", "brand new", "r")
    assert error.data == {"Hint": 1}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, errors.ApiError), (404, errors.ApiError), (429, errors.RateLimited), (503, errors.ServiceUnavailable)],
)
def test_an_unknown_code_is_judged_by_the_http_status(status: int, kind: type[errors.ApiError]) -> None:
    error = api_error(7, status=status)
    assert type(error) is kind
    assert error.retryable == (kind is not errors.ApiError)


@pytest.mark.parametrize("code", sorted(RETURN_CODES.keys() - {0}))
def test_an_error_says_whether_the_same_call_may_succeed_later(code: int) -> None:
    assert api_error(code).retryable == RETURN_CODES[code].retryable


CREATES_WITH_A_FACE = ["CreateDigitalHumanAgentInstance", "CreateLiveDigitalHumanAgentInstance"]


@pytest.mark.parametrize("action", CREATES_WITH_A_FACE)
def test_a_create_that_finds_no_digital_human_free_is_over_its_quota_like_one_that_is_told_so(action: str) -> None:
    error = api_error(410001025, action=action)
    assert type(error) is errors.QuotaExceeded
    assert not error.retryable
    assert error.advice == api_error(410001031, action=action).advice
    assert error.name == "DigitalHumanInsufficientResources"


def test_elsewhere_the_same_code_passes_by_itself() -> None:
    error = api_error(410001025, action="UpdateAgentInstance")
    assert type(error) is errors.ServiceUnavailable
    assert error.retryable


@pytest.mark.parametrize("message", ["AgentNotFound: no agent 'a'", "AgentNotFound", "no agent 'a'", ""])
def test_the_name_of_a_code_stands_in_a_message_once(message: str) -> None:
    error = api_error(410001009, message, action="QueryAgents")
    assert str(error).count("AgentNotFound") == 1
    assert error.message == message


def test_a_known_code_is_judged_by_itself_whatever_the_http_status() -> None:
    assert type(api_error(410001009, status=429)) is errors.NotFound


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_survives_pickling_and_copying(again: Callable[[errors.ApiError], errors.ApiError]) -> None:
    error = api_error(400000015, "taken", request_id="r", action="CreateDigitalHumanStreamTask")
    other = again(error)
    assert type(other) is type(error)
    assert (str(other), vars(other)) == (str(error), vars(error))
