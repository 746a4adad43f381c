"""What goes over the wire and comes back: examples of the vendor, fields newer than the library, nulls, secrets."""

from __future__ import annotations

import base64
import collections
import copy
import datetime as dt
import pickle
import types
import warnings
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from contract_data import ACTION_NAMES, Field, plain_body, request_of, response_of

from zego_aigc.aiagent import (
    CDN,
    LLM,
    TTS,
    AddAgentInstanceMsg,
    AgentInstanceMsgList,
    CreatedDigitalHumanAgentInstance,
    DigitalHumanStream,
    DigitalHumanStreams,
    EncodedDigitalHumanConfig,
    HistoryMessage,
    Message,
    MessageHistory,
    QueriedAgents,
    RegisterAgent,
    Round,
    SyncMode,
    UpdateAgent,
)
from zego_aigc.digitalhuman import (
    CreateDigitalHumanStreamTask,
    RTCConfig,
    StreamTaskList,
    StreamTaskStatus,
    TaskStatus,
    WsDrive,
)
from zego_aigc.errors import ConfigurationError, InvalidRequest
from zego_aigc.schema import validation
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.schema.codegen import compiled_check
from zego_aigc.schema.decoding import dec_hook, enc_hook
from zego_aigc.transport.envelope import read

STREAM_TASK = {
    "DigitalHumanConfig": {"DigitalHumanId": "0d3538a4-9e8e-4155-b1fb-c7defb8eeef8"},
    "RTCConfig": {"RoomId": "1234567890", "StreamId": "elias1"},
}
"""The request example of CreateDigitalHumanStreamTask."""

EVERYTHING = {
    "AgentId": "assistant",
    "UserId": "user_1",
    "RTC": {"RoomId": "room.1", "AgentStreamId": "agent-stream", "AgentUserId": "agent_1", "UserStreamId": "user-stream"},
    "LLM": {
        "Url": "https://ark.cn-beijing.volces.com/api/v3/chat/completions",
        "ApiKey": "zego_test",
        "Model": "doubao-1-5-lite-32k-250115",
        "SystemPrompt": "You are kind.",
        "Temperature": 0.7,
        "TopP": 0.9,
        "Params": {"max_tokens": 200},
        "AddAgentInfo": False,
        "AgentExtraInfo": {"key": ["any", "value"]},
    },
    "TTS": {
        "Vendor": "ByteDance",
        "Params": {"app": {"appid": "zego_test", "token": "zego_test", "cluster": "volcano_tts"}, "audio": {"voice_type": "v"}},
        "FilterText": [{"BeginCharacters": "(", "EndCharacters": ")"}],
        "TerminatorText": "#end",
    },
    "ASR": {
        "Vendor": "AliyunGummy",
        "Params": {"payload": {"model": "gummy-realtime-v1"}},
        "VADSilenceSegmentation": 2000,
        "PauseInterval": 200,
        "HotWord": "zego",
    },
    "MessageHistory": {
        "SyncMode": 1,
        "Messages": [{"Role": "user", "Content": "hello"}, {"Role": "assistant", "Content": "hi"}],
        "WindowSize": 500,
        "ZIM": {"RobotId": "@RBT#1", "LoadMessageCount": 500},
    },
    "CallbackConfig": {
        "ASRResult": 1,
        "LLMResult": 1,
        "Interrupted": 0,
        "UserSpeakAction": 0,
        "AgentSpeakAction": 1,
        "UserAudioData": 0,
    },
    "AdvancedConfig": {"InterruptMode": 0, "MaxIdleTime": 1800, "DisableTTS": False},
    "DigitalHuman": {"ConfigId": "web", "EncodeCode": "VP8"},
}
"""Everything that the older page of CreateDigitalHumanAgentInstance lists, values at its limits."""


def decode(result: Any, data: bytes) -> Any:
    return msgspec.json.decode(data, type=result, dec_hook=dec_hook)


# --- requests ----------------------------------------------------------------------------------------------------


def test_the_vendors_own_example_goes_out_as_it_is_printed() -> None:
    action = CreateDigitalHumanStreamTask.from_wire(STREAM_TASK, unknown="error")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert msgspec.json.decode(validation.encode(action)) == STREAM_TASK


@pytest.mark.filterwarnings("ignore::zego_aigc.errors.VendorAdvice")
def test_all_that_the_older_page_allows_goes_out() -> None:
    action = ACTIONS["CreateDigitalHumanAgentInstance"].from_wire(EVERYTHING, unknown="error")
    assert msgspec.json.decode(validation.encode(action)) == EVERYTHING
    assert action.to_wire() == EVERYTHING


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_what_is_not_set_is_not_sent(name: str) -> None:
    action = ACTIONS[name].from_wire(plain_body(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert set(msgspec.json.decode(validation.encode(action))) == set(plain_body(name))


def with_extra(fields: dict[str, Field], body: dict[str, Any]) -> dict[str, Any]:
    """The body with an unheard-of field in every object of it."""
    result: dict[str, Any] = {"Unheard": {"Of": [1, None]}}
    for name, value in body.items():
        spec = fields[name]
        if spec.kind == "object":
            result[name] = with_extra(spec.fields, value)
        elif spec.of is not None and spec.of.kind == "object":
            result[name] = [with_extra(spec.of.fields, inner) for inner in value]
        else:
            result[name] = value
    return result


@pytest.mark.filterwarnings("ignore::zego_aigc.errors.VendorAdvice")
@pytest.mark.parametrize("name", ACTION_NAMES)
def test_newer_fields_go_along_at_any_level(name: str) -> None:
    base = EVERYTHING if name == "CreateDigitalHumanAgentInstance" else plain_body(name)
    body = with_extra(request_of(name), base)
    action = ACTIONS[name].from_wire(body)
    assert action.extra == {"Unheard": {"Of": [1, None]}}
    assert msgspec.json.decode(validation.encode(action)) == body
    with pytest.raises(InvalidRequest, match="Unheard: is not a field of"):
        ACTIONS[name].from_wire(body, unknown="error")


def test_extra_does_not_replace_a_declared_field() -> None:
    action = RegisterAgent(agent_id="a", extra={"AgentId": "b"})
    with pytest.raises(InvalidRequest, match="set 'agent_id' instead of extra"):
        validation.encode(action)


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_null_means_the_same_as_absent(name: str) -> None:
    body = plain_body(name)
    nulls = {field: None for field in request_of(name) if field not in body}
    assert ACTIONS[name].from_wire({**body, **nulls}) == ACTIONS[name].from_wire(body)


def test_a_member_of_an_enum_is_as_good_as_its_number() -> None:
    by_name, by_number = MessageHistory(sync_mode=SyncMode.MESSAGES), MessageHistory(sync_mode=1)
    assert validation.encode(by_name) == validation.encode(by_number) == b'{"SyncMode":1}'
    assert type(by_name.to_wire()["SyncMode"]) is int
    assert compiled_check(MessageHistory)(by_name)


def test_relatives_of_plain_types_are_as_good_as_those() -> None:
    class Text(str):
        __slots__ = ()

    class Number(float):
        __slots__ = ()

    params: Mapping[str, Any] = types.MappingProxyType(
        {"words": (Text("a"), types.MappingProxyType({})), "n": collections.deque([1])}
    )
    action = RegisterAgent(
        agent_id=Text("a"),
        llm=LLM(
            url="u", model="m", api_key="k", temperature=Number(0.5), params=params, extra=types.MappingProxyType({"N": 1})
        ),
    )
    assert msgspec.json.decode(validation.encode(action)) == {
        "AgentId": "a",
        "LLM": {"Url": "u", "Model": "m", "ApiKey": "k", "Temperature": 0.5, "N": 1, "Params": {"words": ["a", {}], "n": [1]}},
    }
    queue = collections.deque([Message.user("hi")])
    said = AddAgentInstanceMsg(agent_instance_id="i", messages=queue)
    assert validation.encode(said) == b'{"AgentInstanceId":"i","Messages":[{"Role":"user","Content":"hi"}]}'


def test_what_has_no_form_in_json_is_named_by_its_path() -> None:
    for odd in (object(), iter([]), 1j):
        with pytest.raises(InvalidRequest) as caught:
            validation.encode(RegisterAgent(agent_id="a", llm=LLM(url="u", model="m", params={"odd": [odd]})))
        assert [(problem.path, problem.rule) for problem in caught.value.problems] == [("LLM.Params", "encoding")]


def test_an_extra_field_without_a_value_is_not_sent() -> None:
    assert validation.encode(RegisterAgent(agent_id="a", extra={"New": None})) == b'{"AgentId":"a"}'


def test_from_wire_knows_two_ways_with_unknown_fields() -> None:
    body = {"AgentId": "a", "New": 1}
    assert RegisterAgent.from_wire(body).extra == {"New": 1}
    with pytest.raises(InvalidRequest, match="New: is not a field of RegisterAgent"):
        RegisterAgent.from_wire(body, unknown="error")
    with pytest.raises(ConfigurationError, match="'extra' or 'error'"):
        RegisterAgent.from_wire(body, unknown="ignore")  # type: ignore[arg-type]  # what is tested


def test_requests_pickle_copy_and_compare() -> None:
    action = ACTIONS["CreateDigitalHumanAgentInstance"].from_wire(EVERYTHING)
    assert pickle.loads(pickle.dumps(action)) == action
    assert copy.deepcopy(action) == action
    assert msgspec.structs.replace(action, user_id="other") != action


def test_secrets_are_in_no_repr() -> None:
    body = copy.deepcopy(EVERYTHING)
    body["LLM"]["ApiKey"] = "hunter2"  # type: ignore[index]  # a literal of mixed values
    body["TTS"]["Params"]["app"] = {"appid": "hunter2", "token": "hunter2"}  # type: ignore[index]  # a body is a map of maps
    text = repr(ACTIONS["CreateDigitalHumanAgentInstance"].from_wire(body))
    assert "hunter2" not in text
    assert "doubao-1-5-lite-32k-250115" in text
    assert "hunter2" not in repr(WsDrive(drive_id="d", wss_address="wss://host/?token=hunter2"))
    assert "hunter2" not in repr(CDN(url="rtmp://host/live/hunter2"))


TELLTALE_KEYS = (
    "key",
    "api_key",
    "apiKey",
    "X-Api-Key",
    "appkey",
    "subscriptionKey",
    "Ocp-Apim-Subscription-Key",
    "AccessKeyId",
    "ak_id",
    "privateKey",
    "SecretId",
    "client_secret",
    "X-Auth-Token",
    "access_token",
    "Authorization",
    "password",
    "pwd",
    "Cookie",
)
INNOCENT_KEYS = ("monkey", "hotkey", "max_tokens", "keywords", "model", "voice_id", "group_id", "apple", "language")


def test_free_form_maps_hide_what_their_keys_give_away() -> None:
    headers = {key: f"hunter2-{number}" for number, key in enumerate(TELLTALE_KEYS)}
    text = repr(LLM(url="u", model="m", params={"headers": [headers], **dict.fromkeys(INNOCENT_KEYS, "shown")}))
    assert "hunter2" not in text
    assert text.count("'shown'") == len(INNOCENT_KEYS)


# --- results -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ACTION_NAMES if ACTIONS[name].result is None])
def test_an_action_without_data_returns_nothing(name: str) -> None:
    assert read(b'{"Code":0,"Message":"Succeed","RequestId":"r","Data":{"New":1}}', None).code == 0


def documented(fields: dict[str, Field], *, null: bool, extra: bool) -> dict[str, Any]:
    """An answer with every documented field, or with null in place of all but the ids."""
    data: dict[str, Any] = {"Unheard": {"Of": 1}} if extra else {}
    for name, spec in fields.items():
        is_id = name.endswith("Id") and name not in {"RoomId", "StreamId", "RobotId"}
        if null and not (is_id or name == "WssAddress"):
            data[name] = None
        elif spec.kind == "object":
            data[name] = documented(spec.fields, null=null, extra=extra)
        elif spec.kind == "list":
            assert spec.of is not None
            inner = spec.of
            data[name] = [documented(inner.fields, null=null, extra=extra) if inner.kind == "object" else "x"]
        elif spec.kind == "map":
            data[name] = {"app": {"api_key": "k"}}
        else:
            data[name] = {"string": "x", "integer": 2**63 - 1 if name == "Round" else 1, "number": 1.5, "boolean": True}[
                spec.kind
            ]
    return data


def answered(value: Any) -> Any:
    """A result in wire form, for comparison with what was answered."""
    return msgspec.to_builtins(value, enc_hook=enc_hook)


@pytest.mark.parametrize("name", [name for name in ACTION_NAMES if response_of(name)])
def test_every_documented_field_of_an_answer_arrives(name: str) -> None:
    data = documented(response_of(name), null=False, extra=False)
    envelope = read(msgspec.json.encode({"Code": 0, "Message": "", "RequestId": "r", "Data": data}), ACTIONS[name].result)
    assert isinstance(envelope.data, ACTIONS[name].result)
    assert answered(envelope.data) == data


@pytest.mark.parametrize("name", [name for name in ACTION_NAMES if response_of(name)])
@pytest.mark.parametrize("null", [True, False])
def test_unknown_fields_and_nulls_never_fail_an_answer(name: str, *, null: bool) -> None:
    data = documented(response_of(name), null=null, extra=True)
    envelope = read(msgspec.json.encode({"Code": 0, "Data": data}), ACTIONS[name].result)
    assert isinstance(envelope.data, ACTIONS[name].result)


@pytest.mark.parametrize("name", [name for name in ACTION_NAMES if response_of(name)])
def test_an_answer_may_hold_nothing_but_ids(name: str) -> None:
    data = {k: v for k, v in documented(response_of(name), null=True, extra=False).items() if v is not None}
    envelope = read(msgspec.json.encode({"Code": 0, "Data": data}), ACTIONS[name].result)
    assert isinstance(envelope.data, ACTIONS[name].result)
    assert repr(envelope.data).startswith(ACTIONS[name].result.__name__)


def test_a_null_takes_nothing_away_from_free_form_maps() -> None:
    params = {"stop": None, "bias": [None, 1]}
    llm = {"Url": None, "Model": "m", "Params": params, "__extra__": 5}
    answer = msgspec.json.encode({"Code": 0, "Data": {"Agents": [{"AgentId": "a", "Name": None, "LLM": llm}, None]}})
    found = read(answer, QueriedAgents).data
    assert isinstance(found, QueriedAgents)
    (agent,) = found.agents
    assert agent.llm is not None
    assert (agent.name, agent.llm.url, agent.llm.params) == ("", "", params)


def test_rounds_keep_64_bits() -> None:
    assert decode(Round, b'{"Round":9223372036854775807}').round == 2**63 - 1


def test_a_status_may_be_a_number_that_nobody_has_heard_of() -> None:
    status = decode(StreamTaskStatus, b'{"Status":77}').status
    assert status == 77
    assert isinstance(status, TaskStatus)
    assert status.name == "UNKNOWN_77"
    assert pickle.loads(pickle.dumps(status)) == status
    assert decode(StreamTaskStatus, b'{"Status":3}').status is TaskStatus.STREAMING
    with pytest.raises(ValueError, match="not a valid TaskStatus"):
        TaskStatus("streaming")  # type: ignore[arg-type]  # what a caller might try


def test_times_are_raw_numbers_and_datetimes() -> None:
    (task,) = decode(StreamTaskList, b'{"TaskList":[{"TaskId":"t","Status":1,"CreateTime":1754000000}]}').task_list
    assert task.create_time == 1_754_000_000
    assert task.created_at == dt.datetime(2025, 7, 31, 22, 13, 20, tzinfo=dt.UTC)
    assert decode(StreamTaskStatus, b"{}").created_at is None


CONFIG = EncodedDigitalHumanConfig(
    "eyJEaWdpdGFsSHVtYW5JZCI6ImU1ODNkMzVmLTk3OTMtNDJiNC1hYjFiLTE4OWEzNWI4OGQxYyIsIlN0cmVhbXMiOlt7IlJvb21JZCI6Imly"
    "XzU1NTd5bDVoIiwiU3RyZWFtSWQiOiJpcl81NTU3eWw1aF8xNzEwMl9hZ2VudCIsIkVuY29kZUNvZGUiOiJIMjY0IiwiQ29uZmlnSWQiOiJ3ZWIifV19"
)


@pytest.mark.parametrize("time", [2**62, -(2**62), 10**15])
def test_a_time_that_no_calendar_holds_is_no_datetime(time: int) -> None:
    task = StreamTaskStatus(create_time=time)
    assert (task.create_time, task.created_at) == (time, None)


def test_a_time_in_milliseconds_is_taken_for_one() -> None:
    assert StreamTaskStatus(create_time=1_754_000_000_500).created_at == dt.datetime(2025, 7, 31, 22, 13, 20, 500_000, dt.UTC)


def test_a_digital_human_config_is_text_to_hand_on_and_can_be_read() -> None:
    created = decode(
        CreatedDigitalHumanAgentInstance,
        msgspec.json.encode({"AgentInstanceId": "1", "DigitalHumanConfig": str(CONFIG)}),
    )
    assert created.digital_human_config == CONFIG
    assert created.digital_human_config.decode() == DigitalHumanStreams(
        digital_human_id="e583d35f-9793-42b4-ab1b-189a35b88d1c",
        streams=[
            DigitalHumanStream(room_id="ir_5557yl5h", stream_id="ir_5557yl5h_17102_agent", encode_code="H264", config_id="web")
        ],
    )
    assert msgspec.json.encode(created, enc_hook=enc_hook).count(CONFIG.encode()) == 1


def test_a_digital_human_config_may_hold_nulls_and_more_than_is_known() -> None:
    inside: dict[str, Any] = {"DigitalHumanId": None, "Streams": [{"RoomId": "r", "StreamId": None, "New": 1}, None], "New": {}}
    config = EncodedDigitalHumanConfig(base64.b64encode(msgspec.json.encode(inside)).decode())
    assert config.decode() == DigitalHumanStreams(streams=[DigitalHumanStream(room_id="r")])


@pytest.mark.parametrize("text", ["", "!", "e30", "bm90IGpzb24=", "W10="])
def test_a_digital_human_config_of_another_shape_says_so(text: str) -> None:
    if text == "e30":  # an empty object, its padding cut
        assert EncodedDigitalHumanConfig(text).decode() == DigitalHumanStreams()
        return
    with pytest.raises(ValueError, match="cannot be read"):
        EncodedDigitalHumanConfig(text).decode()


def test_hooks_refuse_what_they_do_not_know() -> None:
    with pytest.raises(msgspec.ValidationError, match="DigitalHumanConfig"):
        decode(CreatedDigitalHumanAgentInstance, b'{"AgentInstanceId":"1","DigitalHumanConfig":5}')
    with pytest.raises(NotImplementedError, match="a complex cannot be written"):
        enc_hook(1j)


def test_a_registered_agent_may_lack_what_a_request_needs() -> None:
    (agent,) = decode(QueriedAgents, b'{"Agents":[{"AgentId":"a","LLM":{},"TTS":{},"ASR":{}}]}').agents
    assert isinstance(agent.llm, LLM)
    assert isinstance(agent.tts, TTS)
    with pytest.raises(InvalidRequest) as error:
        validation.encode(UpdateAgent(agent_id="a", llm=agent.llm, tts=agent.tts))
    assert {problem.path for problem in error.value.problems} == {"LLM.Url", "LLM.Model", "TTS.Params.app"}


def test_what_was_registered_can_be_sent_back_and_keeps_its_secrets() -> None:
    data = {"AgentId": "a", "LLM": EVERYTHING["LLM"], "TTS": EVERYTHING["TTS"]}
    (agent,) = decode(QueriedAgents, msgspec.json.encode({"Agents": [data]})).agents
    sent = msgspec.json.decode(validation.encode(UpdateAgent(agent_id="a", llm=agent.llm, tts=agent.tts)))
    assert sent == data
    assert "zego_test" not in repr(agent)


def test_messages_that_came_back_start_the_next_conversation() -> None:
    answer = decode(AgentInstanceMsgList, b'{"Total":2,"MessageList":[{"Role":"user","Content":"hi"},{"Role":"system"}]}')
    first, second = answer.message_list
    assert first == HistoryMessage(role="user", content="hi")
    assert second.role == "system"
    history = MessageHistory(sync_mode=1, messages=[first])
    assert msgspec.json.decode(validation.encode(history)) == {
        "SyncMode": 1,
        "Messages": [{"Role": "user", "Content": "hi"}],
    }


def test_a_room_id_of_a_stream_task_may_hold_any_letter() -> None:
    assert RTCConfig(room_id="räume", stream_id="s").to_wire() == {"RoomId": "räume", "StreamId": "s"}
