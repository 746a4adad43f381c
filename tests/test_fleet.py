"""Fleet files: what they may hold, and how their mistakes are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zego_aigc.aiagent import RegisterAgent
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask
from zego_aigc.provisioning import Fleet, FleetUnreadable
from zego_aigc.provisioning.entry import Entry, default_key, digest, idle_time
from zego_aigc.provisioning.fleet import Located

TASK = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": "r", "StreamId": "s"}}
ROOT = Path(__file__).parent.parent


def read(tmp_path: Path, text: str, name: str = "fleet.jsonl", **environ: str) -> list[Located]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return list(Fleet(path, environ=environ))


def entries(found: list[Located]) -> list[Entry]:
    assert not [problem for located in found for problem in located.problems]
    return [located.entry for located in found if located.entry is not None]


def problems(found: list[Located]) -> list[str]:
    """Each as the command line prints it, without the directory."""
    return [f"{Path(located.place).name}: {problem}" for located in found for problem in located.problems]


def line(**fields: Any) -> str:
    return json.dumps({"Action": "CreateDigitalHumanStreamTask", "Body": TASK} | fields) + "\n"


def test_a_line_is_an_entry_and_blank_lines_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    text = "\ufeff" + line(Key="k", After=["x"]) + "\n  \n" + line()
    first, second = entries(read(tmp_path, text))
    assert isinstance(first.action, CreateDigitalHumanStreamTask)
    assert (first.key, first.after, second.key) == ("k", ("x",), None)
    assert [located.place.rpartition(":")[2] for located in read(tmp_path, text)] == ["1", "4"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"Action": ', "fleet.jsonl:1: is not JSON"),
        ("[1]", "fleet.jsonl:1: must be an object"),
        ("\x00\x01", "fleet.jsonl:1: is not JSON"),
        ('{"Body": {}}', "fleet.jsonl:1: Action: is required"),
        ('{"Action": 5}', "fleet.jsonl:1: Action: must be a string"),
        ('{"Action": "RegisterAgnet"}', "did you mean RegisterAgent?"),
        ('{"Action": "QueryAgents", "Body": {"AgentIds": []}}', "Action: QueryAgents only reads"),
        ('{"Action": "DeleteAgentInstance", "Body": {"AgentInstanceId": "1"}}', "Action: DeleteAgentInstance ends something"),
        ('{"Action": "RegisterAgent", "Body": []}', "Body: must be an object"),
        ('{"Action": "RegisterAgent", "body": {"AgentId": "a"}}', "body: is not a field of an entry; did you mean Body?"),
        (
            '{"Action": "RegisterAgent", "Body": {"AgentId": "a", "Nmae": "x"}}',
            "Body.Nmae: is not a field of RegisterAgent; did you mean Name?",
        ),
        ('{"Action": "RegisterAgent", "Body": {"AgentId": "a b"}}', "Body.AgentId: "),
        (line(Key=5), "Key: must be a string"),
        (line(Key=""), "Key: must be a string that is not empty"),
        (line(After="x"), "After: must be a list of keys"),
        (line(Body=TASK | {"TTL": 5}), "Body.TTL: must be 10 to 86400 (got 5)"),
        (line(Body={**TASK, "RTCConfig": {"RoomId": "r"}}), "Body.RTCConfig.StreamId: is required"),
        (line(Count=2), "Count: is not a field of an entry"),
    ],
)
def test_a_mistake_in_a_line_names_file_line_and_path(tmp_path: Path, text: str, said: str) -> None:
    found = problems(read(tmp_path, text))
    assert said in found[0]
    assert all(one.startswith("fleet.jsonl:1: ") for one in found)


def test_all_mistakes_of_a_file_are_found_not_only_the_first(tmp_path: Path) -> None:
    text = "{\n" + line() + line(Body={"TTL": 1, "DigitalHumanConfig": {}}) + "nonsense\n"
    assert len(problems(read(tmp_path, text))) == 5


def test_text_that_is_not_utf_8_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "fleet.jsonl"
    path.write_bytes(line().encode() + b'{"Action": "\xff"}\n')
    assert "fleet.jsonl:2: is not" in problems(list(Fleet(path)))[0]


def test_a_secret_that_is_wrong_is_not_shown(tmp_path: Path) -> None:
    body = {"AgentId": "a", "LLM": {"Url": "https://x", "Model": "m", "ApiKey": ["sk-hidden"]}}
    assert "sk-hidden" not in "".join(problems(read(tmp_path, line(Action="RegisterAgent", Body=body))))


def test_a_file_that_is_not_there_or_is_a_directory_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path / "none.toml", tmp_path):
        with pytest.raises(FleetUnreadable, match=path.name):
            list(Fleet(path))


def test_placeholders_take_credentials_from_the_environment(tmp_path: Path) -> None:
    def body(key: str) -> str:
        return line(Action="RegisterAgent", Body={"AgentId": "a", "LLM": {"Url": "https://x", "Model": "m", "ApiKey": key}})

    def api_key(text: str, **environ: str) -> object:
        (entry,) = entries(read(tmp_path, text, **environ))
        assert isinstance(entry.action, RegisterAgent)
        assert entry.action.llm is not None
        return entry.action.llm.api_key

    assert api_key(body("${KEY}"), KEY="k") == "k"
    assert api_key(body("${KEY:-none}")) == "none"
    assert api_key(body("${KEY:-none}"), KEY="k") == "k"
    assert api_key(body("a ${A} b ${B:-}"), A="1") == "a 1 b "
    assert api_key(body("$${KEY}")) == "${KEY}"
    assert api_key(body("{n} $KEY")) == "{n} $KEY"
    assert problems(read(tmp_path, body("${KEY}"))) == [
        "fleet.jsonl:1: Body.LLM.ApiKey: the environment variable KEY is not set, and ${KEY} has no default"
    ]


TOML = """
[defaults.CreateDigitalHumanStreamTask]
TTL = 100
DigitalHumanConfig = { DigitalHumanId = "h", BackgroundColor = "#000000" }

[[fleet]]
Action = "RegisterAgent"
Body = { AgentId = "guide", Name = "a {n} stays" }

[[fleet]]
Action = "CreateDigitalHumanStreamTask"
Key = "screen {n}"
After = ["RegisterAgent:guide"]
Count = 3
[fleet.Body]
DigitalHumanConfig = { BackgroundColor = "#ffffff" }
RTCConfig = { RoomId = "r{n:03}", StreamId = "s-{n}" }
"""


def test_toml_lays_entries_over_defaults_and_counts(tmp_path: Path) -> None:
    agent, *screens = entries(read(tmp_path, TOML, "fleet.toml"))
    assert agent.action.to_wire() == {"AgentId": "guide", "Name": "a {n} stays"}
    assert [screen.key for screen in screens] == ["screen 1", "screen 2", "screen 3"]
    assert screens[1].after == ("RegisterAgent:guide",)
    assert screens[1].action.to_wire() == {
        "TTL": 100,
        "DigitalHumanConfig": {"DigitalHumanId": "h", "BackgroundColor": "#ffffff"},
        "RTCConfig": {"RoomId": "r002", "StreamId": "s-2"},
    }


def test_toml_places_are_lines_with_the_entry_and_its_number(tmp_path: Path) -> None:
    places = [Path(located.place).name for located in read(tmp_path, TOML, "fleet.toml")]
    assert places[:2] == ["fleet.toml:6 (entry 1)", "fleet.toml:10 (entry 2, n=1)"]


def test_what_is_wrong_with_each_of_many_is_said_once(tmp_path: Path) -> None:
    found = problems(read(tmp_path, TOML.replace("TTL = 100", "TTL = 1"), "fleet.toml"))
    assert found == ["fleet.toml:10 (entry 2, n=1): Body.TTL: must be 10 to 86400 (got 1)"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[fleet]\n", "fleet.toml:1: is not TOML"),
        ('x = "', "is not TOML"),
        ("[fleet]\nAction = 'RegisterAgent'", "fleet: must be a list of tables: write [[fleet]]"),
        ("[[fleets]]", "fleets: is not a table of a fleet file; did you mean fleet?"),
        ("[defaults.RegisterAgnt]", "defaults.RegisterAgnt: is not an Action; did you mean RegisterAgent?"),
        ("defaults = 1", "defaults: must be tables"),
        ("[defaults]\nRegisterAgent = 1", "defaults.RegisterAgent: must be a table"),
        ("fleet = [1]", "(entry 1): must be a table"),
        ("[[fleet]]\nAction = 'RegisterAgent'\nCount = 0", "fleet.toml:1 (entry 1): Count: must be an integer from 1"),
        ("[[fleet]]\nAction = 'RegisterAgent'\nCount = true", "Count: must be an integer"),
    ],
)
def test_a_mistake_in_toml_names_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in found for found in problems(read(tmp_path, text, "fleet.toml")))


def test_a_header_inside_a_long_string_does_not_put_lines_out(tmp_path: Path) -> None:
    text = "[[fleet]]\nAction = 'RegisterAgent'\n[fleet.Body]\nAgentId = 'a'\nName = '''\n[[fleet]]\n'''\n"
    (located,) = read(tmp_path, text, "fleet.toml")
    assert Path(located.place).name == "fleet.toml (entry 1)"


def test_the_example_is_sound_and_needs_nothing_set() -> None:
    found = list(Fleet(ROOT / "examples" / "fleet.toml", environ={}))
    assert len(entries(found)) == 150
    assert not [text for located in found for text in located.advice]
    assert len({entry.key or default_key(entry.action, digest(entry.action)) for entry in entries(found)}) == 150


@given(
    st.dictionaries(
        st.sampled_from(["Action", "Key", "After", "Body", "x"]),
        st.from_type(type(None)) | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()),
    )
)
def test_whatever_an_object_holds_it_is_read_without_an_accident(
    tmp_path_factory: pytest.TempPathFactory, raw: dict[str, Any]
) -> None:
    (located,) = read(tmp_path_factory.getbasetemp(), json.dumps(raw))
    assert (located.entry is None) == bool(located.problems)


@given(st.binary(max_size=200), st.sampled_from(["fleet.jsonl", "fleet.toml"]))
def test_whatever_a_file_holds_it_is_read_without_an_accident(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    for located in Fleet(path, environ={}):
        assert (located.entry is None) == bool(located.problems)


def test_keys_come_from_the_names_in_a_request() -> None:
    task = CreateDigitalHumanStreamTask.from_wire(TASK)
    assert default_key(task, digest(task)) == "CreateDigitalHumanStreamTask:s"
    assert default_key(RegisterAgent(agent_id="a"), "") == "RegisterAgent:a"


def test_digests_change_with_the_request_but_not_with_its_secrets() -> None:
    def agent(**llm: Any) -> RegisterAgent:
        return RegisterAgent.from_wire({"AgentId": "a", "LLM": {"Url": "https://x", "Model": "m", **llm}})

    assert digest(agent(ApiKey="1")) == digest(agent(ApiKey="2"))
    assert digest(agent(Model="n")) != digest(agent())
    assert digest(agent(Params={"b": 1, "a": 2})) == digest(agent(Params={"a": 2, "b": 1}))


def test_idle_times_are_the_vendors_unless_set() -> None:
    assert idle_time(CreateDigitalHumanStreamTask.from_wire(TASK)) == 900
    assert idle_time(CreateDigitalHumanStreamTask.from_wire(TASK | {"MaxIdleTime": 50})) == 50
    assert idle_time(RegisterAgent(agent_id="a")) is None
