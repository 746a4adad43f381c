"""Talking in the sandbox: statuses over time, rounds, priorities, the queue, context, walkie-talkie, events."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sandbox_fixtures import NOW, vendor
from vendor_client import VendorClient

from zego_aigc.sandbox import ModelFailure, Pace, Question, Sandbox

__all__ = ["vendor"]

pytestmark = pytest.mark.anyio

SWITCHES = "ASRResult LLMResult Interrupted UserSpeakAction AgentInstanceStatus UserAudioData AgentSpeakAction"

ALL_ON = dict.fromkeys(SWITCHES.split(), 1)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """One whose agents are in their rooms at once."""
    async with Sandbox(time=NOW, rate_limit=None, pace=Pace(join=0, think=1, character=0.1)) as running:
        yield running


@pytest.fixture
async def identity(vendor: VendorClient) -> str:
    await vendor.agent()
    return await vendor.voice(CallbackConfig=ALL_ON)


async def status(vendor: VendorClient, identity: str) -> str:
    answer: str = (await vendor.do("QueryAgentInstanceStatus", {"AgentInstanceId": identity}))["Status"]
    return answer


async def say(vendor: VendorClient, identity: str, text: str, **options: Any) -> int:
    round_: int = (await vendor.do("SendAgentInstanceTTS", {"AgentInstanceId": identity, "Text": text, **options}))["Round"]
    return round_


async def ask(vendor: VendorClient, identity: str, text: str, **options: Any) -> int:
    round_: int = (await vendor.do("SendAgentInstanceLLM", {"AgentInstanceId": identity, "Text": text, **options}))["Round"]
    return round_


async def messages(vendor: VendorClient, identity: str) -> list[tuple[str, str]]:
    data = await vendor.do("GetAgentInstanceMsgList", {"AgentInstanceId": identity})
    assert data["Total"] == len(data["MessageList"])
    return [(message["Role"], message["Content"]) for message in data["MessageList"]]


def events(sandbox: Sandbox, *names: str) -> list[tuple[str, dict[str, Any]]]:
    """The callbacks so far, as (event, Data), of those names or all."""
    return [(one.event, one.body["Data"]) for one in sandbox.outbox.deliveries if not names or one.event in names]


# --- statuses and events ---------------------------------------------------------------------------------------------


async def test_a_question_is_thought_about_and_then_answered(sandbox: Sandbox, vendor: VendorClient, identity: str) -> None:
    sandbox.app.reply = lambda question: f"Yes: {question.text}! Really."
    assert await status(vendor, identity) == "IDLE"
    round_ = await ask(vendor, identity, "ok?")
    assert await status(vendor, identity) == "THINKING"
    await sandbox.clock.advance(1)
    assert await status(vendor, identity) == "SPEAKING"
    await sandbox.clock.advance(0.1 * len("Yes: ok?! Really."))
    assert await status(vendor, identity) == "IDLE"
    assert events(sandbox, "AgentInstanceStatus", "LLMResult", "AgentSpeakAction") == [
        ("AgentInstanceStatus", {"Status": "THINKING", "Round": round_}),
        ("LLMResult", {"Round": round_, "Text": "Yes: ok?!"}),
        ("LLMResult", {"Round": round_, "Text": "Really."}),
        ("AgentInstanceStatus", {"Status": "SPEAKING", "Round": round_}),
        ("AgentSpeakAction", {"Action": "SPEAK_BEGIN"}),
        ("AgentInstanceStatus", {"Status": "IDLE", "Round": round_}),
        ("AgentSpeakAction", {"Action": "SPEAK_END"}),
    ]


async def test_each_round_has_statuses_of_its_own(sandbox: Sandbox, vendor: VendorClient, identity: str) -> None:
    first = await say(vendor, identity, "one")
    second = await say(vendor, identity, "two", SamePriorityOption="Enqueue")
    await sandbox.clock.advance(10)
    assert events(sandbox, "AgentInstanceStatus", "AgentSpeakAction") == [
        ("AgentInstanceStatus", {"Status": "SPEAKING", "Round": first}),
        ("AgentSpeakAction", {"Action": "SPEAK_BEGIN"}),
        ("AgentInstanceStatus", {"Status": "IDLE", "Round": first}),
        ("AgentSpeakAction", {"Action": "SPEAK_END"}),
        ("AgentInstanceStatus", {"Status": "SPEAKING", "Round": second}),
        ("AgentSpeakAction", {"Action": "SPEAK_BEGIN"}),
        ("AgentInstanceStatus", {"Status": "IDLE", "Round": second}),
        ("AgentSpeakAction", {"Action": "SPEAK_END"}),
    ]


async def test_callbacks_that_are_not_switched_on_do_not_come(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    await ask(vendor, identity, "ok?")
    await sandbox.clock.advance(10)
    assert [event for event, _ in events(sandbox)] == ["AgentInstanceCreated"]


async def test_a_user_who_speaks_is_heard_answered_and_cuts_the_agent(
    sandbox: Sandbox, vendor: VendorClient, identity: str
) -> None:
    sandbox.app.reply = lambda _: "Aha."
    first = await say(vendor, identity, "a long story")
    await sandbox.clock.advance(0.55)
    sandbox.user_speaks("stop it")
    assert await status(vendor, identity) == "LISTENING"
    await sandbox.clock.advance(1.5)
    assert await status(vendor, identity) == "THINKING"
    await sandbox.clock.advance(60)
    reported = events(sandbox, "Interrupted", "UserSpeakAction", "ASRResult", "LLMResult")
    turn = first + 1
    assert reported == [
        ("UserSpeakAction", {"UserId": "user", "Action": "SPEAK_BEGIN", "Round": turn}),
        ("Interrupted", {"Round": first, "Reason": 1, "PlayedText": "a lon"}),
        ("UserSpeakAction", {"UserId": "user", "Action": "SPEAK_END", "Round": turn}),
        ("ASRResult", {"UserId": "user", "Round": turn, "Text": "stop it"}),
        ("LLMResult", {"Round": turn, "Text": "Aha."}),
    ]
    ((_, audio),) = events(sandbox, "UserAudioData")
    assert audio["SampleRate"] == 16000
    assert len(base64.b64decode(audio["Audio"])) == 2 * 16000  # of 16 bits, and a second of them
    assert await messages(vendor, identity) == [("assistant", "a lon"), ("user", "stop it"), ("assistant", "Aha.")]


async def test_an_agent_in_interrupt_mode_1_speaks_on(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice(AdvancedConfig={"InterruptMode": 1}, CallbackConfig=ALL_ON)
    await say(vendor, identity, "x" * 100)
    sandbox.user_speaks("stop it", seconds=0.5)
    await sandbox.clock.advance(1)
    assert await status(vendor, identity) == "SPEAKING"
    assert not events(sandbox, "Interrupted", "UserAudioData")
    await sandbox.clock.advance(9)
    assert await status(vendor, identity) == "THINKING"


async def test_a_user_who_finds_the_queue_full_is_heard_but_not_answered(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice(AdvancedConfig={"InterruptMode": 1})
    for _ in range(6):
        await say(vendor, identity, "x" * 100, SamePriorityOption="Enqueue", AddHistory=False)
    sandbox.user_speaks("anybody?")
    await sandbox.clock.advance(100)
    assert await messages(vendor, identity) == [("user", "anybody?")]


async def test_a_model_that_fails_is_reported_as_an_exception(sandbox: Sandbox, vendor: VendorClient, identity: str) -> None:
    def fail(_: Question) -> str:
        raise ModelFailure(2203, "wrong key")

    sandbox.app.reply = fail
    round_ = await ask(vendor, identity, "?")
    await sandbox.clock.advance(1)
    assert events(sandbox, "Exception") == [("Exception", {"Code": 2203, "Message": "wrong key", "Round": round_})]
    assert await status(vendor, identity) == "IDLE"


async def test_a_reply_that_fails_is_raised_and_ends_only_its_own_round(
    sandbox: Sandbox, vendor: VendorClient, identity: str
) -> None:
    def fail(_: Question) -> str:
        raise LookupError("no idea")

    sandbox.app.reply = fail
    await ask(vendor, identity, "?")
    with pytest.raises(LookupError):
        await sandbox.clock.advance(10)
    assert await status(vendor, identity) == "IDLE"
    await sandbox.clock.advance(200)
    assert not sandbox.app.instances


async def test_metadata_is_cut_out_of_the_answer_and_reported(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.reply = lambda _: '[[{"mood": "glad", "private": 1}]]Hello.[[no json]]'
    await vendor.agent()
    meta = {"BeginCharacters": "[[", "EndCharacters": "]]", "SendMetaKeys": ["mood"]}
    options: dict[str, Any] = {"AdvancedConfig": {"LLMMetaInfo": meta}, "CallbackConfig": {"LLMResult": 1}}
    identity = await vendor.voice(**options)
    round_ = await ask(vendor, identity, "hi")
    await sandbox.clock.advance(5)
    assert events(sandbox, "AgentInstanceMetaInfo", "LLMResult") == [
        ("LLMResult", {"Round": round_, "Text": "Hello."}),
        ("AgentInstanceMetaInfo", {"Round": round_, "MetaInfo": {"mood": "glad"}}),
    ]
    identity = await vendor.voice(**options, TTS={"Vendor": "Aliyun", "Params": {"app": {"app_key": "k"}}})
    await ask(vendor, identity, "hi")
    await sandbox.clock.advance(5)
    assert len(events(sandbox, "AgentInstanceMetaInfo")) == 1


async def test_what_was_never_configured_is_reported_as_an_exception(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.do("RegisterAgent", {"AgentId": "agent"})
    identity = await vendor.voice()
    await ask(vendor, identity, "hi")
    await sandbox.clock.advance(5)
    await say(vendor, identity, "hi")
    assert [data["Code"] for _, data in events(sandbox, "Exception")] == [2202, 2302]
    assert await status(vendor, identity) == "IDLE"


async def test_without_speech_synthesis_answers_are_texts_only(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice(AdvancedConfig={"DisableTTS": True}, CallbackConfig={"LLMResult": 1})
    assert await vendor.code("SendAgentInstanceTTS", {"AgentInstanceId": identity, "Text": "x"}) == 410000003
    await ask(vendor, identity, "hi")
    await sandbox.clock.advance(1)
    assert await status(vendor, identity) == "IDLE"
    assert len(events(sandbox, "LLMResult")) == 1


# --- rounds, priorities, the queue -----------------------------------------------------------------------------------


async def test_rounds_grow_and_never_repeat(sandbox: Sandbox, vendor: VendorClient, identity: str) -> None:
    rounds = [await say(vendor, identity, "x", SamePriorityOption="Enqueue") for _ in range(3)]
    rounds.append(await ask(vendor, identity, "x"))
    assert rounds == sorted(set(rounds))


async def test_the_same_priority_cuts_in_by_default_and_the_round_that_was_cut_is_reported(
    sandbox: Sandbox, vendor: VendorClient, identity: str
) -> None:
    first = await say(vendor, identity, "x" * 100)
    await ask(vendor, identity, "?")
    assert events(sandbox, "Interrupted") == [("Interrupted", {"Round": first, "Reason": 2, "PlayedText": ""})]
    thought = await ask(vendor, identity, "??")
    await say(vendor, identity, "x")
    assert events(sandbox, "Interrupted")[-1] == ("Interrupted", {"Round": thought, "Reason": 3})


async def test_queued_speech_follows_in_order_and_the_queue_holds_five(
    sandbox: Sandbox, vendor: VendorClient, identity: str
) -> None:
    for number in range(6):
        await say(vendor, identity, f"{number}", SamePriorityOption="Enqueue")
    body = {"AgentInstanceId": identity, "Text": "x", "SamePriorityOption": "Enqueue"}
    assert await vendor.code("SendAgentInstanceTTS", body) == 410000003
    assert await vendor.code("SendAgentInstanceLLM", body) == 410000003
    await sandbox.clock.advance(10)
    assert [text for _, text in await messages(vendor, identity)] == list("012345")


async def test_a_higher_priority_cuts_in_and_a_lower_one_waits(sandbox: Sandbox, vendor: VendorClient, identity: str) -> None:
    await say(vendor, identity, "medium" * 10)
    await say(vendor, identity, "low", Priority="Low")
    await sandbox.clock.advance(1)
    await say(vendor, identity, "high", Priority="High", SamePriorityOption="Enqueue")
    await say(vendor, identity, "low", Priority="Low")
    sandbox.user_speaks("hush")
    await sandbox.clock.advance(10)
    assert [text for role, text in await messages(vendor, identity) if role == "assistant"] == [
        "mediummedi",
        "high",
        "You said: hush",  # speech waits while the user speaks
        "low",
    ]


async def test_the_older_interrupt_mode_is_a_priority(sandbox: Sandbox, vendor: VendorClient, identity: str) -> None:
    await say(vendor, identity, "x" * 100, InterruptMode=1)
    await say(vendor, identity, "y", InterruptMode=0)
    assert not events(sandbox, "Interrupted")
    await say(vendor, identity, "z", InterruptMode=1)
    assert len(events(sandbox, "Interrupted")) == 1


async def test_an_interruption_silences_the_agent_and_empties_the_queue(
    sandbox: Sandbox, vendor: VendorClient, identity: str
) -> None:
    first = await say(vendor, identity, "abc" * 10)
    await say(vendor, identity, "later", SamePriorityOption="Enqueue")
    await sandbox.clock.advance(0.35)
    assert await vendor.do("InterruptAgentInstance", {"AgentInstanceId": identity}) == {"Round": first}
    assert await status(vendor, identity) == "IDLE"
    await sandbox.clock.advance(10)
    assert events(sandbox, "Interrupted") == [("Interrupted", {"Round": first, "Reason": 4, "PlayedText": "abc"})]
    assert await messages(vendor, identity) == [("assistant", "abc")]
    assert await vendor.code("InterruptAgentInstance", {"AgentInstanceId": identity}) == 0


# --- context ---------------------------------------------------------------------------------------------------------


async def test_context_is_given_added_to_and_reset(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    given = [{"Role": "user", "Content": "hello"}, {"Role": "assistant", "Content": "hi"}]
    identity = await vendor.voice(MessageHistory={"SyncMode": 1, "Messages": given})
    await vendor.do("AddAgentInstanceMsg", {"AgentInstanceId": identity, "Messages": [{"Role": "user", "Content": "more"}]})
    assert await messages(vendor, identity) == [("user", "hello"), ("assistant", "hi"), ("user", "more")]
    await ask(vendor, identity, "kept?", AddQuestionToHistory=True)
    await sandbox.clock.advance(10)
    assert (await messages(vendor, identity))[3:] == [("user", "kept?"), ("assistant", "You said: kept?")]
    await vendor.do("ResetAgentInstanceMsgList", {"AgentInstanceId": identity})
    await ask(vendor, identity, "not kept", AddAnswerToHistory=False)
    await sandbox.clock.advance(10)
    await say(vendor, identity, "neither", AddHistory=False)
    await sandbox.clock.advance(10)
    assert await messages(vendor, identity) == []


async def test_messages_count_only_with_sync_mode_1(vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice(MessageHistory={"Messages": [{"Role": "user", "Content": "hello"}]})
    assert await messages(vendor, identity) == []


@pytest.mark.parametrize(("window", "seen"), [(None, 20), (3, 3), (0, 0)])
async def test_the_model_sees_as_much_context_as_the_window_holds(
    sandbox: Sandbox, vendor: VendorClient, window: int | None, seen: int
) -> None:
    asked: list[Question] = []
    sandbox.app.reply = lambda question: asked.append(question) or "ok"  # type: ignore[func-returns-value]  # append() returns None
    await vendor.agent()
    given = [{"Role": "user", "Content": str(number)} for number in range(30)]
    history = {"SyncMode": 1, "Messages": given, "WindowSize": window}
    identity = await vendor.voice(MessageHistory=history)
    await ask(vendor, identity, "one")
    await sandbox.clock.advance(10)
    await ask(vendor, identity, "two", SystemPrompt="Shout.")
    await sandbox.clock.advance(10)
    assert [message["Content"] for message in asked[0].messages] == [str(number) for number in range(30)][30 - seen :]
    assert [question.system_prompt for question in asked] == ["Be brief.", "Shout."]


# --- walkie-talkie ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def walkie(vendor: VendorClient) -> str:
    await vendor.agent()
    return await vendor.voice(AdvancedConfig={"CommunicationMode": 2}, CallbackConfig=ALL_ON)


async def test_an_agent_listens_between_start_and_stop(sandbox: Sandbox, vendor: VendorClient, walkie: str) -> None:
    sandbox.user_speaks("not heard", walkie)
    started = await vendor.do("StartListening", {"AgentInstanceId": walkie})
    assert await status(vendor, walkie) == "LISTENING"
    for action in ("SendAgentInstanceTTS", "SendAgentInstanceLLM"):
        assert await vendor.code(action, {"AgentInstanceId": walkie, "Text": "x"}) == 410001013
    sandbox.user_speaks("heard", walkie)
    stopped = await vendor.do("StopListening", {"AgentInstanceId": walkie})
    assert stopped == started
    assert await status(vendor, walkie) == "THINKING"
    await sandbox.clock.advance(10)
    assert await messages(vendor, walkie) == [("user", "heard"), ("assistant", "You said: heard")]
    assert [event for event, _ in events(sandbox, "ASRResult")] == ["ASRResult"]


async def test_a_turn_in_which_nothing_was_said_ends_idle(vendor: VendorClient, walkie: str) -> None:
    await vendor.do("StartListening", {"AgentInstanceId": walkie})
    await vendor.do("StopListening", {"AgentInstanceId": walkie})
    assert await status(vendor, walkie) == "IDLE"
    assert await vendor.code("StopListening", {"AgentInstanceId": walkie}) == 0


async def test_sequence_is_one_counter_over_both_calls_and_of_each_user(vendor: VendorClient, walkie: str) -> None:
    def turn(action: str, sequence: int | None, user: str | None = None) -> Any:
        return vendor.code(action, {"AgentInstanceId": walkie, "Sequence": sequence, "UserId": user})

    assert await turn("StartListening", 1) == 0
    assert await turn("StartListening", 1) == 410001043
    assert await turn("StopListening", 1) == 410001043
    assert await turn("StopListening", 2**60) == 0
    assert await turn("StartListening", 2) == 410001043
    assert await turn("StartListening", 1, "another") == 0
    assert await turn("StopListening", None) == 0


async def test_only_walkie_talkies_listen_on_command(vendor: VendorClient, identity: str) -> None:
    for action in ("StartListening", "StopListening"):
        assert await vendor.code(action, {"AgentInstanceId": identity}) == 410001042


async def test_a_user_who_cannot_be_heard_cannot_have_a_turn(sandbox: Sandbox, vendor: VendorClient, walkie: str) -> None:
    sandbox.app.rooms.leave("room-1", "user")
    assert await vendor.code("StartListening", {"AgentInstanceId": walkie}) == 410001016
    sandbox.app.rooms.join("room-1", "user", publishing=False)
    assert await vendor.code("StartListening", {"AgentInstanceId": walkie}) == 410001046
    sandbox.app.rooms.join("room-1", "user")
    assert await vendor.code("StartListening", {"AgentInstanceId": walkie}) == 0


async def test_speech_of_a_user_of_nobody_is_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(LookupError, match="no agent instance is running: create one first"):
        sandbox.user_speaks("hello?")
    with pytest.raises(LookupError, match="'7' is running; the newest running ones are: none"):
        sandbox.user_speaks("hello?", "7")


@pytest.mark.parametrize(
    "action",
    [
        "SendAgentInstanceLLM",
        "SendAgentInstanceTTS",
        "QueryAgentInstanceStatus",
        "InterruptAgentInstance",
        "GetAgentInstanceMsgList",
        "ResetAgentInstanceMsgList",
        "AddAgentInstanceMsg",
        "StartListening",
        "StopListening",
        "UpdateAgentInstance",
        "DeleteAgentInstance",
    ],
)
async def test_every_call_on_an_instance_that_is_not_there_is_refused(vendor: VendorClient, action: str) -> None:
    assert await vendor.code(action, {"AgentInstanceId": "1", "Text": "x"}) == 410001002
