"""Values that a page allows and values that it does not, where no bound of the contract's record says so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zego_aigc.aiagent import (
    ASR,
    LLM,
    RTC,
    AddAgentInstanceMsg,
    CreateLiveDigitalHumanAgentInstance,
    DigitalHuman,
    RegisterAgent,
)
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, DigitalHumanConfig, RTCConfig
from zego_aigc.errors import InvalidRequest
from zego_aigc.schema import validation
from zego_aigc.schema.codegen import compiled_check

NOT_FINITE = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("odd", NOT_FINITE, ids=str)
def test_a_number_that_json_cannot_write_is_refused_wherever_it_stands(odd: float) -> None:
    llm = LLM(url="u", model="m", temperature=odd, params={"top": [1.5, {"k": odd}], "none": None}, extra={"New": odd})
    with pytest.raises(InvalidRequest) as caught:
        validation.encode(RegisterAgent(agent_id="a", llm=llm, extra={"Newer": {"x": odd}}))
    assert [(problem.path, problem.rule) for problem in caught.value.problems] == [
        ("LLM.Temperature", "range"),
        ("LLM.Params.top[1].k", "range"),
        ("LLM.New", "range"),
        ("Newer.x", "range"),
    ]


FREE_FORM = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), FREE_FORM, max_size=4))
def test_both_looks_agree_on_free_form_values_and_what_passes_comes_back(params: dict[str, Any]) -> None:
    llm = LLM(url="u", model="m", api_key="k", params=params)
    problems, _ = validation.validate(LLM, llm.to_wire(), extra_is_known=True)
    if compiled_check(LLM)(llm):
        assert not problems
        assert msgspec.json.decode(validation.encode(llm))["Params"] == params
    elif problems:
        with pytest.raises(InvalidRequest):
            validation.encode(llm)
    else:
        validation.encode(llm)  # over-careful: the thorough look settles it


def test_null_in_a_free_form_map_is_sent_as_it_is() -> None:
    action = RegisterAgent(agent_id="a", llm=LLM(url="u", model="m", api_key="k", params={"stop": None, "text": "null"}))
    assert msgspec.json.decode(validation.encode(action))["LLM"]["Params"] == {"stop": None, "text": "null"}


def test_a_plain_map_in_place_of_a_struct_is_checked_like_the_struct() -> None:
    fits: Any = {"Url": "u", "ApiKey": "k", "Model": "m", "Params": {"any_key": 1}}
    assert msgspec.json.decode(validation.encode(RegisterAgent(agent_id="a", llm=fits)))["LLM"] == fits
    wrong: Any = {"Url": "u", "system_prompt": "Be brief.", "Temperature": 3}
    with pytest.raises(InvalidRequest) as caught:
        validation.encode(RegisterAgent(agent_id="a", llm=wrong))
    assert [(problem.path, problem.rule) for problem in caught.value.problems] == [
        ("LLM.system_prompt", "unknown"),
        ("LLM.Model", "required"),
        ("LLM.Temperature", "range"),
    ]
    assert "did you mean SystemPrompt?" in str(caught.value)


def test_a_struct_in_the_place_of_another_is_refused_for_what_the_other_does_not_have() -> None:
    conversation: Any = RTC(room_id="r", agent_stream_id="s", agent_user_id="u", user_stream_id="v")
    face = DigitalHuman(digital_human_id="h")
    with pytest.raises(InvalidRequest, match=r"RTC\.UserStreamId: is not a field of LiveRTC"):
        validation.encode(CreateLiveDigitalHumanAgentInstance(agent_id="a", rtc=conversation, digital_human=face))


def test_maps_in_a_list_of_structs_are_checked_too() -> None:
    said: Any = [{"Role": "user", "Content": "hi"}, {"Role": "user", "Content": "hi", "content": "hi"}]
    with pytest.raises(InvalidRequest, match=r"Messages\[1\].content: is not a field of Message; did you mean Content"):
        validation.encode(AddAgentInstanceMsg(agent_instance_id="i", messages=said))


@pytest.mark.parametrize("value", [500, 500.0, 750.5])
def test_a_time_that_the_page_calls_a_number_may_have_a_fraction(value: float) -> None:
    asr = ASR(vad_silence_segmentation=value, pause_interval=value)
    body = msgspec.json.decode(validation.encode(RegisterAgent(agent_id="a", asr=asr), advise=False))
    assert body["ASR"] == {"VADSilenceSegmentation": value, "PauseInterval": value}


@pytest.mark.parametrize("value", [199.9, 2000.1])
def test_such_a_time_keeps_its_bounds(value: float) -> None:
    with pytest.raises(InvalidRequest, match="VADSilenceSegmentation: must be 200 to 2000"):
        validation.encode(RegisterAgent(agent_id="a", asr=ASR(vad_silence_segmentation=value)))


@pytest.mark.parametrize("colour", ["#00ff88", "#00FF88", "#00000000", "#00ff88CC"])
def test_a_background_may_have_an_opacity(colour: str) -> None:
    config = DigitalHumanConfig(digital_human_id="h", background_color=colour)
    assert config.to_wire()["BackgroundColor"] == colour
    assert compiled_check(DigitalHumanConfig)(config)


@pytest.mark.parametrize("colour", ["00ff88", "#00ff8", "#00ff888", "#00ff8888f", "green", ""])
def test_what_is_no_colour_is_refused(colour: str) -> None:
    config = DigitalHumanConfig(digital_human_id="h", background_color=colour)
    task = CreateDigitalHumanStreamTask(digital_human_config=config, rtc_config=RTCConfig(room_id="r", stream_id="s"))
    with pytest.raises(InvalidRequest, match="BackgroundColor: must be a colour such as #00ff88"):
        validation.encode(task)
