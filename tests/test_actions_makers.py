"""Less to type: language models by their provider, and names for a conversation that nothing else has."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from zego_aigc.aiagent import LLM, RTC, CreateAgentInstance, RegisterAgent
from zego_aigc.errors import InvalidRequest
from zego_aigc.schema import validation

DOCUMENTED = {
    "minimax": ("https://api.minimax.chat/v1/text/chatcompletion_v2", ["MiniMax-Text-01"]),
    "doubao": (
        "https://ark.cn-beijing.volces.com/api/v3/chat/completions",
        ["doubao-1-5-pro-32k-250115", "doubao-1-5-lite-32k-250115"],
    ),
    "qwen": ("https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions", ["qwen-plus"]),
    "stepfun": ("https://api.stepfun.com/v1/chat/completions", ["step-2-16k"]),
}
"""The vendor's list for the trial."""

MAKERS: dict[str, Callable[..., LLM]] = {
    "openai": LLM.openai,
    "minimax": LLM.minimax,
    "doubao": LLM.doubao,
    "qwen": LLM.qwen,
    "stepfun": LLM.stepfun,
}
ADDRESSES = {"openai": "https://api.openai.com/v1/chat/completions", **{name: url for name, (url, _) in DOCUMENTED.items()}}


def sent(llm: LLM) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing to advise against
        return dict(validation.check(RegisterAgent(agent_id="a", llm=llm))["LLM"])


@pytest.mark.parametrize("name", MAKERS)
def test_a_provider_has_its_address_and_the_rest_is_passed_on(name: str) -> None:
    llm = MAKERS[name](api_key="sk", model="m", system_prompt="Be brief.", temperature=0.5, params={"max_tokens": 9})
    assert sent(llm) == {
        "Url": ADDRESSES[name],
        "ApiKey": "sk",
        "Model": "m",
        "SystemPrompt": "Be brief.",
        "Temperature": 0.5,
        "Params": {"max_tokens": 9},
    }


@pytest.mark.parametrize("name", MAKERS)
def test_a_provider_wants_a_key_and_a_model(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        MAKERS[name](api_key="", model="")
    assert caught.value.action == f"LLM.{name}()"
    assert [problem.path for problem in caught.value.problems] == ["ApiKey", "Model"]


@pytest.mark.parametrize("provider", DOCUMENTED)
def test_the_trial_takes_the_vendors_pairs_without_a_warning(provider: Any) -> None:
    url, models = DOCUMENTED[provider]
    for llm, model in [(LLM.zego_test(provider), models[0]), *((LLM.zego_test(provider, model=m), m) for m in models)]:
        assert sent(llm) == {"Url": url, "ApiKey": "zego_test", "Model": model}


def test_the_trial_names_what_it_takes() -> None:
    with pytest.raises(InvalidRequest, match=r"must be minimax, doubao, qwen or stepfun .*; did you mean stepfun\?"):
        LLM.zego_test("step_fun")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(InvalidRequest, match=r"Model: must be doubao-1-5-pro-32k-250115 or doubao-1-5-lite-32k-250115 with"):
        LLM.zego_test("doubao", model="doubao-pro")


def test_names_for_a_user_are_valid_and_never_the_same_twice() -> None:
    made = [RTC.for_user("visitor-7") for _ in range(1000)]
    for field in ("room_id", "agent_stream_id", "agent_user_id", "user_stream_id"):
        assert len({getattr(rtc, field) for rtc in made}) == 1000
    for rtc in made[:20]:
        validation.encode(CreateAgentInstance(agent_id="a", user_id="visitor-7", rtc=rtc))


def test_a_room_that_exists_is_kept_and_the_longest_names_fit() -> None:
    user, room = "u" * 32, "r" * 128
    rtc = RTC.for_user(user, room, unique="x" * 24)
    assert rtc.room_id == room
    validation.encode(CreateAgentInstance(agent_id="a", user_id=user, rtc=rtc))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"user_id": "a b"}, "UserId: may hold only letters, digits and _-"),
        ({"user_id": ""}, "UserId: must not be empty"),
        ({"user_id": "u" * 33}, "UserId: is 33 characters; at most 32 are allowed"),
        ({"user_id": "u", "room_id": "a/b"}, "RTC.RoomId: may hold only letters, digits and _.-"),
        ({"user_id": "u", "unique": "x" * 25}, "unique: is 25 characters; at most 24 are allowed"),
    ],
)
def test_names_that_cannot_be_are_refused_at_once(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        RTC.for_user(**wrong)
