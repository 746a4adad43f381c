"""Rules between fields: what the service refuses is an error, what its pages advise against is a warning."""

from __future__ import annotations

import warnings
from typing import Any

import msgspec
import pytest

from zego_aigc.aiagent import (
    ASR,
    CDN,
    LLM,
    RTC,
    TTS,
    VAD,
    ZIM,
    AdvancedConfig,
    CreateAgentInstance,
    CreateDigitalHumanAgentInstance,
    CreateLiveDigitalHumanAgentInstance,
    DeleteAgentInstance,
    DigitalHuman,
    LiveAdvancedConfig,
    LiveRTC,
    LLMMetaInfo,
    Message,
    MessageHistory,
    RegisterAgent,
    SensitiveConfig,
    SensitiveLevel,
    SyncMode,
    TurnDetectConfig,
    VoiceDetectConfig,
)
from zego_aigc.errors import InvalidRequest, VendorAdvice
from zego_aigc.schema import validation
from zego_aigc.schema.actions import ACTIONS, Wire

SOUND_LLM = LLM(url="https://llm.example/v1", api_key="sk-1", model="m")
SOUND_TTS = TTS(vendor="MiniMax", params={"app": {"api_key": "k"}})
SOUND_RTC = RTC(room_id="r", agent_stream_id="as", agent_user_id="agent", user_stream_id="us")


def create(**fields: Any) -> CreateDigitalHumanAgentInstance:
    given: dict[str, Any] = {
        "agent_id": "a",
        "user_id": "user",
        "rtc": SOUND_RTC,
        "llm": SOUND_LLM,
        "tts": SOUND_TTS,
        "digital_human": DigitalHuman(digital_human_id="d"),
        **fields,
    }
    return CreateDigitalHumanAgentInstance(**given)


def advice_on(action: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        validation.encode(action)
    assert all(issubclass(warning.category, VendorAdvice) for warning in caught)
    return [str(warning.message) for warning in caught]


def refusals_of(action: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as error:
        validation.encode(action)
    return [(problem.path, problem.rule) for problem in error.value.problems]


def test_a_usual_request_draws_no_advice() -> None:
    assert advice_on(create()) == []


def test_advice_points_at_the_callers_line() -> None:
    with pytest.warns(VendorAdvice) as caught:
        validation.encode(create(digital_human=DigitalHuman()))
    assert [warning.filename for warning in caught] == [__file__]


# --- the model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("https://api.minimax.chat/v1/text/chatcompletion_v2", "MiniMax-Text-01"),
        ("https://ark.cn-beijing.volces.com/api/v3/chat/completions", "doubao-1-5-pro-32k-250115"),
        ("https://ark.cn-beijing.volces.com/api/v3/chat/completions", "doubao-1-5-lite-32k-250115"),
        ("https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions", "qwen-plus"),
        ("https://api.stepfun.com/v1/chat/completions", "step-2-16k"),
    ],
)
def test_the_trial_key_is_for_the_listed_models(url: str, model: str) -> None:
    assert advice_on(create(llm=LLM(url=url, api_key="zego_test", model=model))) == []
    (text,) = advice_on(create(llm=LLM(url=url, api_key="zego_test", model="gpt-5")))
    assert "410001047" in text
    (text,) = advice_on(create(llm=LLM(url="https://api.openai.com/v1", api_key="zego_test", model=model)))
    assert "410001047" in text


@pytest.mark.parametrize("key", [None, ""])
def test_a_model_without_a_key_draws_advice(key: str | None) -> None:
    (text,) = advice_on(RegisterAgent(agent_id="a", llm=LLM(url="u", api_key=key, model="m")))
    assert "LLM.ApiKey" in text


def test_agent_info_draws_advice_with_the_responses_protocol() -> None:
    sound: dict[str, Any] = {"url": "u", "api_key": "k", "model": "m"}
    assert advice_on(create(llm=LLM(**sound, vendor="OpenAIResponses"))) == []
    assert advice_on(create(llm=LLM(**sound, add_agent_info=True, agent_extra_info={"a": 1}))) == []
    (text,) = advice_on(create(llm=LLM(**sound, vendor="OpenAIResponses", add_agent_info=True)))
    assert "OpenAIResponses" in text
    assert advice_on(create(llm=LLM(**sound, vendor="OpenAIResponses", agent_extra_info={"a": 1}))) == [text]


# --- the voice ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", ["ByteDanceFlowing", "CosyVoice"])
def test_a_terminator_is_one_character_with_vendors_that_stream_both_ways(vendor: str) -> None:
    def tts(terminator: str) -> TTS:
        return TTS(vendor=vendor, params={"app": {"token": "t"}}, terminator_text=terminator)

    assert advice_on(create(tts=tts("#"))) == []
    assert refusals_of(create(tts=tts("##"))) == [("TTS.TerminatorText", "terminator_bidirectional")]
    assert advice_on(create(tts=msgspec.structs.replace(tts("####"), vendor="Aliyun"))) == []


def test_params_hold_the_credentials() -> None:
    assert refusals_of(create(tts=TTS(vendor="MiniMax", params={"model": "m"}))) == [("TTS.Params.app", "required")]
    assert refusals_of(create(tts=TTS(vendor="MiniMax", params={"app": None}))) == [("TTS.Params.app", "required")]
    assert refusals_of(create(tts=TTS(vendor="MiniMax", params={"app": "k"}))) == [("TTS.Params.app", "type")]


def test_reported_metadata_wants_a_vendor_that_reports() -> None:
    config = AdvancedConfig(llm_meta_info=LLMMetaInfo(begin_characters="[[", end_characters="]]", send_meta_keys=["mood"]))
    assert advice_on(create(advanced_config=config)) == []
    assert advice_on(create(advanced_config=config, tts=None)) == []
    (text,) = advice_on(create(advanced_config=config, tts=TTS(vendor="Aliyun", params={"app": {"ak_id": "i"}})))
    assert "SendMetaKeys" in text


# --- hearing -----------------------------------------------------------------------------------------------------


def test_a_pause_works_only_above_the_silence() -> None:
    def vad(pause: int | None, silence: int | None = None) -> VAD:
        return VAD(turn_detect_config=TurnDetectConfig(silence_segmentation=silence, pause_interval=pause))

    assert advice_on(create(vad=vad(None, 800))) == []
    assert advice_on(create(vad=vad(801, 800))) == []
    assert advice_on(create(vad=vad(501))) == []
    for config in (vad(800, 800), vad(500)):
        (text,) = advice_on(create(vad=config))
        assert "PauseInterval" in text
    assert advice_on(create(asr=ASR(vad_silence_segmentation=500, pause_interval=1000))) == []
    for asr in (ASR(vad_silence_segmentation=500, pause_interval=500), ASR(pause_interval=400)):
        (text,) = advice_on(create(asr=asr))
        assert "PauseInterval" in text


def test_tencent_takes_a_shorter_silence() -> None:
    for vendor in (None, "Tencent"):
        assert advice_on(create(asr=ASR(vendor=vendor, vad_silence_segmentation=1500))) == []
        (text,) = advice_on(create(asr=ASR(vendor=vendor, vad_silence_segmentation=1501)))
        assert "Tencent" in text
        vad = VAD(turn_detect_config=TurnDetectConfig(silence_segmentation=1501))
        (text,) = advice_on(create(asr=ASR(vendor=vendor), vad=vad))
        assert "Tencent" in text
    assert advice_on(create(asr=ASR(vendor="Microsoft", vad_silence_segmentation=2000))) == []
    vad = VAD(turn_detect_config=TurnDetectConfig(silence_segmentation=2000))
    assert advice_on(create(asr=ASR(vendor="Microsoft"), vad=vad)) == []
    assert advice_on(create(vad=vad)) == []  # the registered recogniser may be any


@pytest.mark.parametrize("level", [None, *SensitiveLevel])
def test_details_of_sensitivity_count_only_with_the_custom_level(level: SensitiveLevel | None) -> None:
    custom = level is SensitiveLevel.CUSTOM
    for detail in ({"min_speech_dur": 100}, {"energy_threshold": 0.5}):
        vad = VAD(voice_detect_config=VoiceDetectConfig(sensitive_config=SensitiveConfig(level=level, **detail)))
        assert len(advice_on(create(vad=vad))) == (not custom)
    assert len(advice_on(create(asr=ASR(vad_sensitive_level=level, vad_min_speech_dur=100)))) == (not custom)
    assert advice_on(create(asr=ASR(vad_sensitive_level=level))) == []


# --- history -----------------------------------------------------------------------------------------------------


def test_each_source_of_history_wants_its_mode() -> None:
    messages = [Message.user("hello"), Message.assistant("hi")]
    assert advice_on(create(message_history=MessageHistory(sync_mode=1, messages=messages))) == []
    assert advice_on(create(message_history=MessageHistory(sync_mode=SyncMode.ZIM, zim=ZIM(robot_id="@RBT#1")))) == []
    assert advice_on(create(message_history=MessageHistory(zim=ZIM()))) == []
    assert advice_on(create(message_history=MessageHistory(messages=[]))) == []
    (text,) = advice_on(create(message_history=MessageHistory(sync_mode=1, zim=ZIM())))
    assert "ZIM" in text
    (text,) = advice_on(create(message_history=MessageHistory(messages=messages)))
    assert "SyncMode 1" in text


# --- instances ---------------------------------------------------------------------------------------------------


def test_an_agent_never_takes_its_users_id() -> None:
    rtc = msgspec.structs.replace(SOUND_RTC, agent_user_id="user")
    assert refusals_of(create(rtc=rtc)) == [("RTC.AgentUserId", "unique_agent_ids")]
    voice = CreateAgentInstance(agent_id="a", user_id="user", rtc=rtc)
    assert refusals_of(voice) == [("RTC.AgentUserId", "unique_agent_ids")]


def test_a_digital_human_needs_a_voice() -> None:
    broken = [("AdvancedConfig.DisableTTS", "disable_tts")]
    assert refusals_of(create(advanced_config=AdvancedConfig(disable_tts=True))) == broken
    assert advice_on(create(advanced_config=AdvancedConfig(disable_tts=False))) == []
    live = CreateLiveDigitalHumanAgentInstance(
        agent_id="a",
        cdn=CDN(url="rtmp://cdn.example/live"),
        digital_human=DigitalHuman(digital_human_id="d"),
        advanced_config=LiveAdvancedConfig(disable_tts=True),
    )
    assert refusals_of(live) == broken
    voice = CreateAgentInstance(agent_id="a", user_id="u", rtc=SOUND_RTC, advanced_config=AdvancedConfig(disable_tts=True))
    assert advice_on(voice) == []


def test_a_live_digital_human_goes_somewhere() -> None:
    def live(rtc: LiveRTC | None, cdn: CDN | None) -> CreateLiveDigitalHumanAgentInstance:
        human = DigitalHuman(digital_human_id="d")
        return CreateLiveDigitalHumanAgentInstance(agent_id="a", rtc=rtc, cdn=cdn, digital_human=human)

    rtc, cdn = LiveRTC(room_id="r", agent_stream_id="s", agent_user_id="u"), CDN(url="rtmp://cdn.example/live")
    assert refusals_of(live(None, None)) == [("RTC", "live_target")]
    assert advice_on(live(rtc, None)) == []
    assert advice_on(live(None, cdn)) == []
    (text,) = advice_on(live(rtc, cdn))
    assert "CDN" in text


def test_a_digital_human_without_its_id_draws_advice() -> None:
    for human in (DigitalHuman(), DigitalHuman(digital_human_id="", config_id="web")):
        (text,) = advice_on(create(digital_human=human))
        assert "DigitalHumanId" in text


def test_a_time_to_shut_down_wants_a_graceful_shutdown() -> None:
    assert advice_on(DeleteAgentInstance(agent_instance_id="i", graceful_shutdown=True, graceful_shutdown_timeout=5)) == []
    for graceful in (None, False):
        action = DeleteAgentInstance(agent_instance_id="i", graceful_shutdown=graceful, graceful_shutdown_timeout=5)
        (text,) = advice_on(action)
        assert "GracefulShutdown" in text


def test_a_refused_request_draws_no_advice() -> None:
    problems, advice = validation.validate(
        ACTIONS["RegisterAgent"], {"AgentId": "a", "LLM": {"Url": "u", "Model": 1}}, extra_is_known=True
    )
    assert [problem.path for problem in problems] == ["LLM.Model"]
    assert advice == []


def test_broken_rules_are_named_beside_broken_fields() -> None:
    action = create(
        agent_id="",
        rtc=msgspec.structs.replace(SOUND_RTC, agent_user_id="user", room_id="a room"),
        tts=TTS(vendor="CosyVoice", params={"voice": "v"}, terminator_text="ab", character_filter=["long"]),
        advanced_config=AdvancedConfig(disable_tts=True, max_idle_time=1, tts_param_paths={"a": "b", "c": 1}),  # type: ignore[dict-item]  # what is tested
    )
    assert refusals_of(action) == [
        ("AgentId", "length"),
        ("RTC.RoomId", "characters"),
        ("TTS.CharacterFilter[0]", "length"),
        ("TTS.Params.app", "required"),
        ("TTS.TerminatorText", "terminator_bidirectional"),
        ("AdvancedConfig.MaxIdleTime", "range"),
        ("AdvancedConfig.TTSParamPaths.c", "type"),
        ("AdvancedConfig.DisableTTS", "disable_tts"),
        ("RTC.AgentUserId", "unique_agent_ids"),
    ]


@pytest.mark.parametrize("wrong", [None, 5, "x", [], {}])
def test_a_rule_does_not_repeat_what_a_field_says_by_itself(wrong: Any) -> None:
    def once(name: str, body: dict[str, Any]) -> None:
        problems, _ = validation.validate(ACTIONS[name], body, extra_is_known=True)
        paths = [problem.path for problem in problems]
        assert len(paths) == len(set(paths)), paths

    once("RegisterAgent", {"AgentId": "a", "TTS": {"Vendor": wrong, "Params": wrong, "TerminatorText": wrong}})
    once("CreateLiveDigitalHumanAgentInstance", {"AgentId": "a", "RTC": wrong, "CDN": wrong, "DigitalHuman": wrong})
    once("CreateAgentInstance", {"AgentId": "a", "UserId": wrong, "RTC": wrong, "TTS": wrong, "AdvancedConfig": wrong})
    once("CreateAgentInstance", {"AgentId": "a", "UserId": wrong, "RTC": {"AgentUserId": wrong}, "VAD": wrong})


def test_one_request_may_break_rules_and_draw_advice_at_once() -> None:
    action = create(
        rtc=msgspec.structs.replace(SOUND_RTC, agent_user_id="user"),
        advanced_config=AdvancedConfig(disable_tts=True),
        digital_human=DigitalHuman(),
        llm=LLM(url="u", model="m"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a request that is refused draws no advice
        assert refusals_of(action) == [
            ("AdvancedConfig.DisableTTS", "disable_tts"),
            ("RTC.AgentUserId", "unique_agent_ids"),
        ]


class OfAnyKind(Wire, frozen=True, kw_only=True):
    """With the kinds of fields that the vendor's requests do not have yet."""

    anything: Any = None
    number: float | None = None
    mixed: int | str | None = None
    several: list[Any] | None = None


def test_fields_of_any_kind_are_checked() -> None:
    sound = OfAnyKind(anything=[1, {"a": "b"}], number=1.5, mixed="1", several=[1, "a"])
    assert msgspec.json.decode(validation.encode(sound)) == sound.to_wire()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"anything": {"a": [float("nan")]}}, "Anything.a[0]: must be a finite number"),
        ({"anything": object()}, "Anything: cannot be written as JSON"),
        ({"number": float("inf")}, "Number: must be a finite number"),
        ({"number": "1"}, "Number: must be a number, not a string"),
        ({"number": object()}, "Number: must be a number, not a Python object"),
        ({"several": 5}, "Several: must be a list, not the number 5"),
        ({"extra": 5}, "extra: must be a map from wire names to values"),
    ]
    for fields, said in wrong:
        with pytest.raises(InvalidRequest) as caught:
            validation.encode(OfAnyKind(**fields))
        assert said in str(caught.value)
