"""Calls that go well, calls that are refused, and everything that is said before anything is sent."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import AsyncIterator

import anyio
import msgspec
import pytest
from requests_made import llm, register, rtc, stream, talking, voice

from zego_aigc import (
    Action,
    AlreadyExists,
    ApiError,
    AuthenticationError,
    BadParameter,
    Client,
    ConfigurationError,
    ConnectFailed,
    InvalidRequest,
    LocalLimiter,
    NotFound,
    OutcomeUnknown,
    Permit,
    QuotaExceeded,
    Repeat,
    RetryPolicy,
    Service,
    ServiceUnavailable,
    TimedOut,
    ZegoError,
    aiagent,
    digitalhuman,
)
from zego_aigc.calls.hooks import AttemptEvent, CallEvent
from zego_aigc.sandbox import Pace, Sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(rate_limit=None, pace=Pace(stream_start=0, stream_stop=0)) as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with sandbox.client() as client:
        yield client


class CountingLimiter:
    """Lets everything through and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []

    async def acquire(self, app_id: int, action: str) -> Permit:
        self.asked.append((app_id, action))
        return await LocalLimiter().acquire(app_id, action)


# --- results


async def test_the_main_job_of_ai_agent_runs_from_registration_to_deletion(client: Client) -> None:
    await client.call(register(LLM=llm().to_wire()))
    created = await client.call(talking())
    assert isinstance(created, aiagent.CreatedDigitalHumanAgentInstance)
    assert created.digital_human_config.decode().digital_human_id == "human"
    instance = created.agent_instance_id
    spoken = await client.call(aiagent.SendAgentInstanceTTS(agent_instance_id=instance, text="Hello!"))
    asked = await client.call(aiagent.SendAgentInstanceLLM(agent_instance_id=instance, text="Where am I?"))
    assert asked.round > spoken.round
    status = await client.call(aiagent.QueryAgentInstanceStatus(agent_instance_id=instance))
    assert status.status in {"IDLE", "LISTENING", "THINKING", "SPEAKING"}
    assert (await client.call(aiagent.InterruptAgentInstance(agent_instance_id=instance))).round
    await client.call(aiagent.DeleteAgentInstance(agent_instance_id=instance))
    await client.call(aiagent.UnregisterAgent(agent_id="guide"))


async def test_the_main_job_of_digital_human_runs_from_creation_to_stop(client: Client) -> None:
    humans = await client.call(digitalhuman.GetDigitalHumanList())
    assert humans.total == len(humans.digital_humans)
    voices = await client.call(digitalhuman.GetTimbreList())
    task = await client.call(stream())
    tts = digitalhuman.TTSConfig(timbre_id=voices.timbres[0].timbre_id)
    drive = await client.call(digitalhuman.DriveByText(task_id=task.task_id, text="Hello!", tts_config=tts))
    assert drive.drive_id
    running = await client.call(digitalhuman.QueryDigitalHumanStreamTasks())
    assert [each.task_id for each in running.task_list] == [task.task_id]
    await client.call(digitalhuman.StopDigitalHumanStreamTask(task_id=task.task_id))


async def test_a_response_tells_what_came_along_with_the_result(client: Client) -> None:
    await client.call(register())
    response = await client.call_with_response(voice())
    assert response.result.agent_instance_id == response.data["AgentInstanceId"]
    assert response.request_id
    assert response.headers["Date"]
    assert (response.attempts, response.status) == (1, 200)
    assert 0 < response.elapsed < 60


async def test_a_raw_call_reaches_actions_that_the_library_has_never_heard_of(sandbox: Sandbox, client: Client) -> None:
    with pytest.raises(ApiError) as refused:
        await client.call_raw("GetDriveStatus", {"TaskId": "t"}, service=Service.DIGITAL_HUMAN)
    assert refused.value.name == "UnsupportedAction"
    assert refused.value.action == "GetDriveStatus"
    data = await client.call_raw("ListAgents", {"Limit": 1}, repeat=Repeat.READS)
    assert data == {"Total": 0, "Agents": [], "Cursor": ""}
    assert await client.call_raw("RegisterAgent", {"AgentId": "raw"}, repeat=Repeat.CREATES) is None
    assert "raw" in sandbox.app.agents


async def test_a_raw_call_to_an_unknown_action_must_say_which_service_answers_it(client: Client) -> None:
    with pytest.raises(ConfigurationError, match=r"service=Service\.AI_AGENT"):
        await client.call_raw("GetDriveStatus", {})


@pytest.mark.parametrize("name", ["", "List Agents", "ListAgents&AppId=2", "ListAgents HTTP/1.1\r\nX-Mine: 1", "\u00c4ndern"])
async def test_a_raw_call_to_what_cannot_be_an_action_goes_nowhere(sandbox: Sandbox, client: Client, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of an Action"):
        await client.call_raw(name, {}, service=Service.AI_AGENT)
    assert [*sandbox.recording.calls] == []


async def test_a_raw_body_that_is_not_json_is_an_invalid_request(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
        await client.call_raw("ListAgents", {"Limit": object()})


async def test_lists_page_themselves_to_the_end(client: Client) -> None:
    for n in range(7):
        await client.call(register(f"agent-{n}"))
    assert [agent.agent_id async for agent in client.list_agents(page=3)] == [f"agent-{n}" for n in range(7)]
    everything = await client.call(digitalhuman.GetDigitalHumanList())
    found = [human.digital_human_id async for human in client.list_digital_humans(page=1)]
    assert found == [human.digital_human_id for human in everything.digital_humans]
    assert len([timbre async for timbre in client.list_timbres(page=1)]) >= 1


# --- refusals


async def test_a_refusal_says_code_name_advice_request_id_and_attempts(client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        await client.call(voice(agent_id="nobody"))
    error = caught.value
    assert (error.code, error.name, error.action, error.attempts) == (410001009, "AgentNotFound", "CreateAgentInstance", 1)
    assert error.advice.startswith("Register the agent first")
    assert error.request_id
    for part in (str(error.code), error.name, error.advice, error.request_id, error.action):
        assert part in str(error)


async def test_an_id_that_is_taken_before_the_first_attempt_is_somebody_elses(client: Client) -> None:
    await client.call(register())
    with pytest.raises(AlreadyExists):
        await client.call(register())
    await client.call(talking())
    with pytest.raises(AlreadyExists) as caught:
        await client.call(talking())
    assert caught.value.code == 410001030


async def test_a_full_account_is_a_quota_exceeded(sandbox: Sandbox, client: Client) -> None:
    sandbox.app.quotas.digital_humans = 1
    await client.call(register())
    await client.call(talking("1"))
    with pytest.raises(QuotaExceeded):
        await client.call(talking("2"))


async def test_a_wrong_secret_is_an_authentication_error_after_one_attempt(sandbox: Sandbox) -> None:
    async with Client(sandbox.app_id, "not-the-secret", aiagent_url=sandbox.url) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.call(aiagent.ListAgents())
    assert (caught.value.name, caught.value.attempts) == ("SignatureMismatch", 1)


async def test_every_error_survives_pickling_and_copying(client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        await client.call(voice(agent_id="nobody"))
    unknown = OutcomeUnknown("perhaps", action=voice(), attempts=2)
    late = TimedOut("late", action="ListAgents", attempts=3, waited_for="answer")
    for error in (caught.value, unknown, late):
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(twin) is type(error)
            assert str(twin) == str(error)
            assert twin.__dict__ == error.__dict__


# --- before anything is sent


async def test_an_invalid_request_touches_neither_the_network_nor_the_limiter(sandbox: Sandbox) -> None:
    limiter = CountingLimiter()
    async with sandbox.client(limiter=limiter) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.call(aiagent.CreateAgentInstance(agent_id="", user_id="x" * 33, rtc=rtc()))
    assert {problem.path for problem in caught.value.problems} == {"AgentId", "UserId"}
    assert limiter.asked == []
    assert not sandbox.recording.calls


async def test_every_call_asks_the_limiter_for_its_app_and_action(sandbox: Sandbox) -> None:
    limiter = CountingLimiter()
    async with sandbox.client(limiter=limiter) as client:
        await client.call(aiagent.ListAgents())
        await client.call(digitalhuman.QueryDigitalHumanStreamTasks())
    assert limiter.asked == [(sandbox.app_id, "ListAgents"), (sandbox.app_id, "QueryDigitalHumanStreamTasks")]


async def test_a_limiter_needs_no_more_than_the_protocol_of_three_words(sandbox: Sandbox) -> None:
    class PlainPermit:
        def __init__(self) -> None:
            self.said: list[str] = []

        def departed(self) -> None:
            self.said.append("departed")

        def release(self) -> None:
            self.said.append("release")

    permit = PlainPermit()

    class PlainLimiter:
        async def acquire(self, app_id: int, action: str) -> PlainPermit:
            return permit

    async with sandbox.client(limiter=PlainLimiter()) as client:
        await client.call(aiagent.ListAgents())
        assert permit.said == ["departed"]
        known = client.pool.limiter
        assert (known.limit, known.window, known.guard) == (10, 1.0, 0.05), "it is taken to keep the vendor's limit"
        assert known.take(1, "ListAgents") is None
        assert known.estimate(1, "ListAgents") == 0.0
        known.too_fast(1, "ListAgents")
        async with sandbox.client(limiter=known) as other:
            assert other.pool.limiter is known, "wrapped once"


async def test_a_limiter_that_knows_more_is_used_as_it_is(sandbox: Sandbox) -> None:
    limiter = LocalLimiter()
    async with sandbox.client(limiter=limiter) as client:
        assert client.pool.limiter is limiter


async def test_a_limiter_that_cannot_be_reached_is_a_connection_that_failed_whenever_the_deadline_starts(
    sandbox: Sandbox,
) -> None:
    class Gone:
        async def acquire(self, app_id: int, action: str) -> Permit:
            raise ConnectFailed("Redis does not answer")

    async with sandbox.client(limiter=Gone(), retry=RetryPolicy(max_attempts=2, initial_backoff=0.001)) as client:
        for start in ("call", "grant"):
            with pytest.raises(ConnectFailed, match="Redis does not answer"):
                await client.call(aiagent.ListAgents(), deadline_from=start)


async def test_a_deadline_that_the_limiters_queue_alone_exceeds_fails_at_once_and_says_so(sandbox: Sandbox) -> None:
    async with sandbox.client(limiter=LocalLimiter(limit=1, window=300, clock=lambda: 0.0)) as client:
        await client.call(aiagent.ListAgents())
        with anyio.fail_after(30):
            with pytest.raises(TimedOut, match=r"would wait 30\d\.\d s for its turn at the limiter") as caught:
                await client.call(aiagent.ListAgents(), timeout=50)
    assert caught.value.waited_for == "limiter"
    assert (caught.value.action, caught.value.attempts) == ("ListAgents", 1)
    assert isinstance(caught.value, TimeoutError)
    assert len(sandbox.received(aiagent.ListAgents)) == 1


async def test_the_deadline_covers_waiting_for_a_limiter_that_cannot_tell_how_long(sandbox: Sandbox) -> None:
    class NeverLimiter:
        async def acquire(self, app_id: int, action: str) -> Permit:
            await anyio.sleep_forever()
            raise AssertionError

    async with sandbox.client(limiter=NeverLimiter()) as client:
        with pytest.raises(TimedOut, match="waiting for its turn at the limiter") as caught:
            await client.call(stream(), timeout=0.05)
    assert caught.value.waited_for == "limiter"


@pytest.mark.slow
async def test_a_deadline_from_the_grant_lets_a_call_wait_longer_than_it_may_take(sandbox: Sandbox) -> None:
    async with sandbox.client(limiter=LocalLimiter(limit=1, window=2.0)) as client:
        await client.call(aiagent.ListAgents())
        await client.call(aiagent.ListAgents(), timeout=1.0, deadline_from="grant")
        with pytest.raises(TimedOut):
            await client.call(aiagent.ListAgents(), timeout=1.0)


async def test_before_send_is_awaited_after_the_grant_and_before_the_first_byte(sandbox: Sandbox) -> None:
    seen: list[tuple[int, int]] = []

    async def before_send(attempt: int) -> None:
        seen.append((attempt, len(sandbox.recording.calls)))

    limiter = CountingLimiter()
    sandbox.faults.on(aiagent.ListAgents).times(1).refuse(410000001)
    async with sandbox.client(limiter=limiter) as client:
        await client.call(aiagent.ListAgents(), before_send=before_send)
    assert seen == [(1, 0), (2, 1)]


async def test_what_before_send_raises_ends_the_call_and_gives_the_token_back(sandbox: Sandbox) -> None:
    async def before_send(attempt: int) -> None:
        raise OSError("the disk is full")

    async with sandbox.client(limiter=LocalLimiter(limit=1, window=60)) as client:
        for _ in range(3):
            with pytest.raises(OSError, match="the disk is full"):
                await client.call(stream(), before_send=before_send)
        assert await client.call(stream())
    assert len(sandbox.received(digitalhuman.CreateDigitalHumanStreamTask)) == 1


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), None, "30"])
async def test_every_wait_has_a_bound(timeout: object) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be a positive number of seconds"):
        Client(1, "s", timeout=timeout)  # type: ignore[arg-type] # on purpose


# --- seeing it


async def test_hooks_see_each_attempt_and_each_result(sandbox: Sandbox) -> None:
    attempts: list[AttemptEvent] = []
    outcomes: list[CallEvent] = []
    sandbox.faults.on(aiagent.ListAgents).times(1).refuse(410000001)
    sandbox.faults.on(aiagent.QueryAgents).times(1).cut_before_work()
    async with sandbox.client(on_attempt=attempts.append, on_result=outcomes.append) as client:
        await client.call(aiagent.ListAgents())
        await client.call(aiagent.QueryAgents(agent_ids=["a"]))
        with pytest.raises(NotFound):
            await client.call(voice(agent_id="nobody"))
    told = [(a.action, a.attempt, a.code, a.status, type(a.error).__name__) for a in attempts]
    assert told == [
        ("ListAgents", 1, 410000001, 200, "NoneType"),
        ("ListAgents", 2, 0, 200, "NoneType"),
        ("QueryAgents", 1, None, None, "TransportError"),
        ("QueryAgents", 2, 0, 200, "NoneType"),
        ("CreateAgentInstance", 1, 410001009, 200, "NoneType"),
    ]
    assert all(a.host == "127.0.0.1" and a.seconds > 0 for a in attempts)
    assert attempts[0].request_id
    assert [(o.action, o.attempts, type(o.error).__name__) for o in outcomes] == [
        ("ListAgents", 2, "NoneType"),
        ("QueryAgents", 2, "NoneType"),
        ("CreateAgentInstance", 1, "NotFound"),
    ]


async def test_a_hook_that_fails_changes_nothing(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> None:
        raise ValueError("a bug in the hook")

    async with sandbox.client(on_attempt=broken, on_result=broken) as client:
        assert (await client.call(aiagent.ListAgents())).total == 0
    assert caplog.text.count("ValueError: a bug in the hook") == 2


async def test_the_log_has_a_line_for_each_attempt_and_one_for_a_failure(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "zego_aigc")
    async with sandbox.client() as client:
        with pytest.raises(NotFound) as caught:
            await client.call(voice(agent_id="nobody"))
    attempt, failure = (record for record in caplog.records if "zego" in record.__dict__)
    assert (attempt.levelname, failure.levelname) == ("DEBUG", "INFO")
    for record in (attempt, failure):
        facts = record.__dict__["zego"]
        assert (facts["action"], facts["attempt"], facts["code"]) == ("CreateAgentInstance", 1, 410001009)
        assert facts["request_id"] == caught.value.request_id
        assert facts["seconds"] > 0
    assert failure.getMessage().startswith("CreateAgentInstance failed after 1 attempt in ")


async def test_results_and_clients_show_no_secret(sandbox: Sandbox, client: Client) -> None:
    await client.call(register(LLM=llm("sk-very-secret").to_wire()))
    response = await client.call_with_response(aiagent.QueryAgents(agent_ids=["guide"]))
    assert "sk-very-secret" not in f"{response!r} {response.result!r}"
    assert sandbox.server_secret not in f"{client!r} {client.pool!r}"
    assert client.hosts == {"aiagent": f"{sandbox.url}/", "digitalhuman": f"{sandbox.url}/"}


async def test_zego_error_is_the_base_of_everything_that_is_raised_on_purpose() -> None:
    assert issubclass(BadParameter, ApiError)
    assert all(issubclass(kind, ZegoError) for kind in (ApiError, TimedOut, OutcomeUnknown, InvalidRequest, ConfigurationError))


# --- clear refusals of what must not be repeated


async def test_a_text_that_is_refused_for_good_is_not_an_unknown_outcome(sandbox: Sandbox, client: Client) -> None:
    await client.call(register())
    mute = aiagent.AdvancedConfig(disable_tts=True)
    silent = (await client.call(msgspec.structs.replace(voice("1"), advanced_config=mute))).agent_instance_id
    with pytest.raises(ApiError):
        await client.call(aiagent.SendAgentInstanceTTS(agent_instance_id=silent, text="Hello!"))


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (aiagent.SendAgentInstanceTTS(agent_instance_id="1", text="Hello!"), 410001007),
        (aiagent.InterruptAgentInstance(agent_instance_id="1"), 410001024),
    ],
)
async def test_an_action_that_says_that_it_failed_is_refused_and_sent_once(
    sandbox: Sandbox, client: Client, action: Action[aiagent.Round], code: int
) -> None:
    sandbox.faults.on(type(action)).refuse(code)
    with pytest.raises(ServiceUnavailable) as caught:
        await client.call(action)
    assert (caught.value.code, caught.value.attempts) == (code, 1)
