"""``zego-aigc call`` and ``describe``: what they say before and instead of an answer."""

from __future__ import annotations

import pytest

from zego_aigc.cli import main


@pytest.fixture(autouse=True)
def _nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEGO_APP_ID", "1")
    monkeypatch.setenv("ZEGO_SERVER_SECRET", "secret")
    for name in ("ZEGO_AIAGENT_URL", "ZEGO_DIGITALHUMAN_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def test_a_misspelt_action_is_answered_with_the_closest_and_the_way_to_insist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", "QueryAgentz", "{}"]) == 2
    said = capsys.readouterr().err
    assert "did you mean QueryAgents" in said
    assert "--service" in said


def test_an_action_to_come_is_sent_when_its_service_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", "GetDriveStatus", "{}", "--service", "digitalhuman", "--timeout", "60"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_advice_and_doubtful_fields_are_said_and_the_request_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    body = '{"AgentId": "a", "Nmae": "x", "LLM": {"Url": "u", "Model": "m"}}'
    assert main(["call", "RegisterAgent", body, "--timeout", "60"]) == 1
    advice, doubt, failure = capsys.readouterr().err.splitlines()
    assert advice.startswith("advice: LLM.ApiKey is not set")
    assert doubt == "advice: Nmae: is not a field of RegisterAgent; did you mean Name?"
    assert "127.0.0.1:9" in failure


def test_describe_lists_every_action_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 33
    assert lines[0].startswith("RegisterAgent ")
    assert not any("`" in line for line in lines)
