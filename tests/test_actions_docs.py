"""The index of Actions in the docs, and ``describe``, say what the structs say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from contract_data import ACTION_NAMES, request_of, response_of, walk

from zego_aigc.schema.describe import describe

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_actions", DOCS / "generate_actions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_index_is_up_to_date(generator: ModuleType) -> None:
    hint = "run python docs/generate_actions.py"
    assert (DOCS / "actions.md").read_text(encoding="utf-8") == generator.page(), hint


def test_every_link_in_the_index_leads_somewhere(generator: ModuleType) -> None:
    page = generator.page()
    anchors = re.findall(r'<a id="([^"]+)">', page)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= set(anchors)


def test_the_index_holds_no_markup_of_docstrings(generator: ModuleType) -> None:
    assert ":class:" not in generator.page()
    assert "``" not in generator.page()


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
