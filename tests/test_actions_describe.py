"""``describe`` says what the structs say."""

from __future__ import annotations

import re

import pytest
from contract_data import ACTION_NAMES, request_of, response_of, walk

from zego_aigc.schema.describe import describe


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_a_description_names_every_field_once_and_fits_the_width(name: str) -> None:
    text = describe(name, width=90)
    assert text.startswith(f"{name} (")
    for fields in (request_of(name), response_of(name)):
        for path, _ in walk(fields):
            if not isinstance(path[-1], int):
                depth = sum(isinstance(part, str) for part in path)
                assert re.search(rf"(?m)^{'  ' * depth}{path[-1]}: ", text), path
    # Only a field's own line, which is not broken, may be longer.
    assert all(len(line) <= 90 or re.match(r" +\w+: |https:", line) for line in text.splitlines())
    assert "`" not in text


def test_a_description_says_what_may_stand_where() -> None:
    text = describe("CreateDigitalHumanStreamTask")
    assert "TTL: integer, 10 to 86400" in text
    assert "StreamId: string, required, not empty, at most 128 bytes, letters, digits and _-" in text
    assert "BackgroundColor: string, a colour such as #00ff88" in text
    text = describe("CreateDigitalHumanAgentInstance")
    assert "ApiKey: string, secret" in text
    assert "AdvancedConfig.DisableTTS is not true." in text
    assert "Messages: list of Message, at most 100 items" in text
    assert "Role: string, required, user or assistant" in text


@pytest.mark.parametrize("name", ["createagentinstance", "CreateAgentInstanc", "agentinstance create"])
def test_an_unknown_action_is_answered_with_the_closest(name: str) -> None:
    with pytest.raises(LookupError, match="there is no Action"):
        describe(name)
    if name != "agentinstance create":
        with pytest.raises(LookupError, match="did you mean CreateAgentInstance"):
            describe(name)
