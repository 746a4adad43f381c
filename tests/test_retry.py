"""The arithmetic of trying again, the clock of signatures, and the reading of answers: all pure."""

from __future__ import annotations

import json
import logging
import math
from email.utils import formatdate
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zego_aigc import Repeat, aiagent
from zego_aigc.calls.retry import AttemptOutcome, Backoff, RetryDecision, outcome_of_refusal, retry_after, retry_decision
from zego_aigc.limits.retry_budget import RetryBudget
from zego_aigc.schema.codes import RETURN_CODES
from zego_aigc.transport.clock import ServerClock, http_date
from zego_aigc.transport.envelope import Unreadable, excerpt, read

# --- what follows from an outcome


RULES = """
outcome        may have run   READS   OVERWRITES  ENDS    CREATES  ONCE
NOT_PROCESSED  no             RETRY   RETRY       RETRY   RETRY    RETRY
NOT_PROCESSED  yes            RETRY   RETRY       RETRY   RETRY    RETRY
AMBIGUOUS      no             RETRY   RETRY       RETRY   LOOK_UP  UNKNOWN
AMBIGUOUS      yes            RETRY   RETRY       RETRY   LOOK_UP  UNKNOWN
CLOCK_SKEW     no             RETRY   RETRY       RETRY   RETRY    RETRY
CLOCK_SKEW     yes            RETRY   RETRY       RETRY   RETRY    RETRY
NOT_FOUND      no             RAISE   RAISE       RAISE   RAISE    RAISE
NOT_FOUND      yes            RAISE   RAISE       DONE    LOOK_UP  RAISE
ALREADY_EXISTS no             RAISE   RAISE       RAISE   RAISE    RAISE
ALREADY_EXISTS yes            RAISE   RAISE       RAISE   LOOK_UP  RAISE
STALE          no             RAISE   RAISE       RAISE   RAISE    RAISE
STALE          yes            UNKNOWN UNKNOWN     UNKNOWN UNKNOWN  UNKNOWN
REJECTED       no             RAISE   RAISE       RAISE   RAISE    RAISE
REJECTED       yes            RAISE   RAISE       RAISE   LOOK_UP  RAISE
"""


def test_what_follows_from_each_outcome_for_each_way_of_repeating() -> None:
    header, *lines = RULES.strip().splitlines()
    for line in lines:
        outcome, ran, *decisions = line.split()
        for repeat, decision in zip(header.split()[4:], decisions, strict=True):
            found = retry_decision(AttemptOutcome[outcome], Repeat[repeat], may_have_run=ran == "yes")
            assert found is RetryDecision[decision], (outcome, ran, repeat)
    assert len(lines) == 2 * len(AttemptOutcome)


GONE = {"AgentNotFound", "AgentInstanceNotFound", "InstanceShuttingDown", "TaskNotFound", "StreamAlreadyStopped"}


@pytest.mark.parametrize("code", sorted(RETURN_CODES.keys() - {0}))
def test_only_failures_that_the_vendor_calls_its_own_are_lost_and_only_passing_ones_are_retried(code: int) -> None:
    known = RETURN_CODES[code]
    outcome = outcome_of_refusal(known.why, 200)
    assert (outcome is AttemptOutcome.AMBIGUOUS) == (known.why == "transient")
    assert (outcome is AttemptOutcome.NOT_FOUND) == (known.name in GONE)
    assert (outcome in {AttemptOutcome.NOT_PROCESSED, AttemptOutcome.CLOCK_SKEW, AttemptOutcome.AMBIGUOUS}) == known.retryable


def test_a_code_that_nobody_knows_is_judged_by_the_http_status() -> None:
    assert outcome_of_refusal(None, 200) is AttemptOutcome.REJECTED
    assert outcome_of_refusal(None, 404) is AttemptOutcome.REJECTED
    assert outcome_of_refusal(None, 429) is AttemptOutcome.NOT_PROCESSED
    assert outcome_of_refusal(None, 500) is AttemptOutcome.AMBIGUOUS


# --- how long, how often


@given(retry=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_a_wait_is_below_its_ceiling_which_doubles_up_to_the_cap(retry: int, chance: float) -> None:
    backoff = Backoff(first=0.1, cap=5.0)
    assert 0 <= backoff.delay(retry, chance=chance) <= backoff.ceiling(retry) <= 5.0
    assert backoff.ceiling(retry) == pytest.approx(min(5.0, 0.1 * 2 ** min(retry - 1, 50)))
    assert backoff.delay(retry, chance=0.0) == 0.0


def test_a_retry_budget_runs_out_and_is_earned_back_by_successes() -> None:
    budget = RetryBudget(capacity=20, cost=5, later_cost=1, refund=1)
    assert [budget.spend() for _ in range(5)] == [True, True, True, True, False]
    for _ in range(5):
        budget.earn()
    assert budget.spend()
    assert not budget.spend(later=True)
    for _ in range(100):
        budget.earn()
    assert budget.tokens == 20


@given(st.lists(st.sampled_from(["fail", "later", "success"]), max_size=400))
def test_a_retry_budget_bounds_retries_by_successes(events: list[str]) -> None:
    budget = RetryBudget(capacity=50, cost=5, later_cost=1, refund=1)
    retries = successes = 0
    for event in events:
        if event == "success":
            budget.earn()
            successes += 1
        else:
            retries += (5 if event == "fail" else 1) * budget.spend(later=event == "later")
        assert 0 <= budget.tokens <= 50
    assert retries <= 50 + successes


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-4", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 7.0),
        ("Sun, 06 Nov 1994 08:49:07 GMT", 0.0),
        ("soon", None),
        ("", None),
        (None, None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("1e999", math.inf),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=784111770.0) == seconds


@given(st.text(max_size=40))
@example("Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
def test_retry_after_takes_any_header(value: str) -> None:
    seconds = retry_after(value, now=0.0)
    assert seconds is None or seconds >= 0


# --- the clock


class Hands:
    """Two clocks that a test sets."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.monotonic = 50.0

    def clock(self) -> ServerClock:
        return ServerClock(wall=lambda: self.wall, monotonic=lambda: self.monotonic)


def test_a_clock_that_was_corrected_stays_right_while_the_machines_is_set() -> None:
    hands = Hands()
    clock = hands.clock()
    assert clock.timestamp() == 1_700_000_000
    assert clock.correct(formatdate(1_700_004_000, usegmt=True))
    assert clock.timestamp() == 1_700_004_000
    hands.wall = 5.0
    hands.monotonic += 10.7
    assert clock.timestamp() == 1_700_004_010


def test_a_suspicious_clock_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Hands().clock()
    clock.correct(formatdate(1_700_000_030))
    assert caplog.records == []
    clock.correct(formatdate(1_700_004_000))
    clock.correct(formatdate(1_700_005_000))
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "this machine's clock is -4000 s off the service's; signing with the service's time")
    ]


@given(st.none() | st.text(max_size=40))
@example("Mon, 99999999999999999999 Jan 2020 00:00:00 GMT")
@example("Mon, 01 Jan 2020 00:00:00 +999999999999999999999")
def test_a_date_that_cannot_be_read_corrects_nothing(value: str | None) -> None:
    clock = Hands().clock()
    if http_date(value) is None:
        assert not clock.correct(value)
        assert clock.timestamp() == 1_700_000_000


# --- answers


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_only_the_code_decides() -> None:
    for message in ("success", "Success", "Succeed", "", None):
        answer = body(Code=0, Message=message, RequestId="r", Data={"Round": 2**60})
        assert read(answer, aiagent.Round).data == aiagent.Round(round=2**60)
    refusal = read(body(Code=410000001, Message="success", RequestId="r", Data=["odd"]), aiagent.Round)
    assert (refusal.code, refusal.data) == (410000001, ["odd"])


def test_fields_that_are_newer_than_the_library_are_passed_over() -> None:
    data = read(body(Code=0, Newer=1, Data={"Round": 1, "Newer": [{}]}), aiagent.Round).data
    assert data == aiagent.Round(round=1)


def test_null_means_absent_and_data_may_be_missing_where_nothing_is_returned() -> None:
    assert read(body(Code=0, Message="ok"), None).data is None
    assert read(body(Code=0, Data=None, RequestId=None), None).request_id is None
    agents: Any = read(body(Code=0, Data={"Total": 0, "Agents": None, "Cursor": None}), aiagent.AgentList).data
    assert (agents.total, list(agents.agents)) == (0, [])


def test_a_result_may_stand_beside_the_code() -> None:
    assert read(body(Code=0, Round=7), aiagent.Round).data == aiagent.Round(round=7)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b'{"Code": 0', "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no numeric Code"),
        (b"{}", "no numeric Code"),
        (b'{"Code": "0"}', "no numeric Code"),
        (b'{"Code": true}', "no numeric Code"),
        (b'{"Code": 0}', "Data is not as documented"),
        (b'{"Code": 0, "Data": {"AgentInstanceId": 1}}', r"Data is not as documented: Expected `str`, got `int`"),
    ],
)
def test_what_is_no_answer_says_why(answer: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read(answer, aiagent.CreatedAgentInstance)


@given(st.binary(max_size=200), st.sampled_from([None, Any, aiagent.Round, aiagent.QueriedAgents]))
def test_any_bytes_are_an_envelope_or_unreadable(answer: bytes, result: Any) -> None:
    try:
        envelope = read(answer, result)
    except Unreadable:
        return
    assert isinstance(envelope.code, int)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(data=JSON, result=st.sampled_from([None, Any, aiagent.Round, aiagent.QueriedAgents]), code=st.integers(0, 2))
def test_any_data_is_a_result_or_unreadable(data: Any, result: Any, code: int) -> None:
    try:
        read(msgspec.json.encode({"Code": code, "Data": data}), result)
    except Unreadable:
        assert code == 0


# --- excerpts


def test_an_excerpt_of_a_gateways_page_is_its_text() -> None:
    page = b"<html>\r\n<head><title>502 Bad Gateway</title><style>h1 {color: red}</style></head>\n<h1>Bad\x00 Gateway</h1>"
    assert excerpt(page) == "502 Bad Gateway Bad Gateway"
    assert excerpt(b'{"message":"no Route matched with those values"}') == '{"message":"no Route matched with those values"}'
    assert len(excerpt(b"x" * 10_000)) == 200


@given(st.integers(0, 7000))
def test_an_excerpt_shows_no_part_of_a_secret_either(before: int) -> None:
    for filler in (b"-", b" ", b"<p>"):
        shown = excerpt(
            filler * (before // len(filler)) + b"server-secret-0123456789",
            lambda text: text.replace("server-secret-0123456789", "***"),
        )
        assert "server" not in shown


@given(st.text("abcdef0123456789", min_size=6, max_size=30), st.integers(0, 400), st.booleans())
def test_an_excerpt_of_a_broken_answer_shows_no_string_but_messages(secret: str, cut: int, spaced: bool) -> None:
    secret = f"sk-{secret}"
    answer = json.dumps(
        {
            "Code": 0,
            "Message": "success",
            "Data": {"WssAddress": f"wss://x/?t={secret}", "Agents": [{"LLM": {"ApiKey": secret, "Params": [secret]}}]},
        },
        separators=None if spaced else (",", ":"),
    ).encode()[:cut]
    shown = excerpt(answer)
    assert secret[:9] not in shown
    assert cut < 40 or "success" in shown
