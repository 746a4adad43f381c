"""What functions take by name is what the structs and the client take, so that type checkers know it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zego_aigc import Client, ConfigurationError
from zego_aigc.aiagent import (
    RTC,
    CreateAgentInstance,
    CreateDigitalHumanAgentInstance,
    CreateLiveDigitalHumanAgentInstance,
    _keywords,
)
from zego_aigc.calls.client_options import ClientOptions
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask
from zego_aigc.digitalhuman._keywords import StreamTaskFields

RTC_ = RTC(room_id="r", agent_stream_id="s", agent_user_id="a", user_stream_id="u")


@pytest.mark.parametrize(
    ("keywords", "struct"),
    [
        (_keywords.AgentInstanceFields, CreateAgentInstance),
        (_keywords.DigitalHumanAgentInstanceFields, CreateDigitalHumanAgentInstance),
        (_keywords.LiveDigitalHumanAgentInstanceFields, CreateLiveDigitalHumanAgentInstance),
        (StreamTaskFields, CreateDigitalHumanStreamTask),
    ],
)
def test_the_keywords_of_a_create_are_its_fields(keywords: Any, struct: type[msgspec.Struct]) -> None:
    parameters = inspect.signature(struct).parameters
    assert keywords.__annotations__.keys() == parameters.keys()
    assert {name for name, parameter in parameters.items() if parameter.default is parameter.empty} == {
        name for name, annotation in keywords.__annotations__.items() if "Required" in str(annotation)
    }


def test_the_options_that_are_passed_on_are_those_of_a_client() -> None:
    options = list(inspect.signature(Client).parameters.values())[2:]
    assert {option.name: option.annotation for option in options} == {
        name: reference.__forward_arg__ for name, reference in ClientOptions.__annotations__.items()
    }


def test_a_create_and_its_fields_are_not_both_given() -> None:
    client = Client(1, "s" * 32)
    create = CreateAgentInstance(agent_id="a", user_id="u", rtc=RTC_)
    with pytest.raises(ConfigurationError, match=r"give either a CreateAgentInstance or its fields \(agent_id\), not both"):
        client.agent(create, agent_id="b")  # type: ignore[call-overload]  # that is the point


def test_the_environment_may_stand_in_a_file_and_what_is_set_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZEGO_SERVER_SECRET", "ZEGO_REGION", "ZEGO_AIAGENT_URL", "ZEGO_DIGITALHUMAN_URL", "ZEGO_CALLBACK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZEGO_APP_ID", "7")
    (file := tmp_path / ".env").write_text(
        f'# an account\nZEGO_APP_ID=8\nexport ZEGO_SERVER_SECRET="{"s" * 32}"\nZEGO_REGION=hkg\nZEGO_CALLBACK_SECRET=c\n'
    )
    client = Client.from_env(env_file=file, region="fra")
    assert "app_id=7" in repr(client)
    assert "fra" in client.hosts["aiagent"]
    assert client.callback_secret == "c"


def test_an_env_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read env_file .*none\.env: No such file"):
        Client.from_env(env_file=tmp_path / "none.env")
