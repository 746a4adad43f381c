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
from zego_aigc.provisioning.entry import Entry, default_key, digest, unseen_life
from zego_aigc.provisioning.fleet import Located
from zego_aigc.provisioning.fleet.placeholders import typed
from zego_aigc.schema.fields import Kind

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
        ("5", "fleet.jsonl:1: must be an object"),
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
        ('{"Action": "RegisterAgent", "Action": "X"}', "has 'Action' twice in one object"),
        ('{"Action": "RegisterAgent", "Body": {"AgentId": "a", "AgentId": "b"}}', "has 'AgentId' twice in one object"),
        ('{"Action": "RegisterAgent", "Body": {"AgentId": NaN}}', "is not JSON: NaN is no number"),
        ('{"Action": "RegisterAgent", "Body": {"AgentId": -Infinity}}', "is not JSON: -Infinity is no number"),
        ('{"Action": "RegisterAgent", "Body": {"AgentId": "a\\ud83d"}}', "half a surrogate pair"),
        ('{"Action": "RegisterAgent", "Body": ' + '{"a":' * 100 + "1" + "}" * 101, "is nested too deeply"),
        ('{"Action": "RegisterAgent", "Body": ' + "[" * 5000 + "]" * 5000 + "}", "is nested too deeply"),
        (
            line(Key="${LLM-API-KEY}"),
            "Key: ${LLM-API-KEY} is no placeholder: a variable's name is made of letters, digits and _",
        ),
        (line(Key="${KEY"), "Key: ${KEY is no placeholder: its } is missing"),
    ],
)
def test_a_mistake_in_a_line_names_file_line_and_path(tmp_path: Path, text: str, said: str) -> None:
    found = problems(read(tmp_path, text))
    assert said in found[0]
    assert all(one.startswith("fleet.jsonl:1: ") for one in found)


def test_all_mistakes_of_a_file_are_found_not_only_the_first(tmp_path: Path) -> None:
    text = "{\n" + line() + line(Body={"TTL": 1, "DigitalHumanConfig": {}}) + "nonsense\n"
    assert len(problems(read(tmp_path, text))) == 5


def test_a_colon_after_a_quote_inside_a_text_is_no_doubled_key(tmp_path: Path) -> None:
    body = {"AgentId": "a", "Name": 'say "hi": twice "hi": '}
    assert entries(read(tmp_path, line(Action="RegisterAgent", Body=body)))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("fleet.yaml", "fleet:\n- Action: RegisterAgent\n", "is YAML: a fleet is TOML"),
        ("fleet.txt", "# mine\n\n- Action: RegisterAgent\n  Body:\n", "is YAML: "),
        ("fleet.jsonl", "---\nAction: RegisterAgent\n", "is YAML: "),
        ("fleet.json", '[\n{"Action": "RegisterAgent"}\n]\n', "is a JSON array: "),
        ("fleet.json", '[{"Action": "RegisterAgent"}]', "is a JSON array: "),
        ("fleet.json", '{\n  "Action": "RegisterAgent"\n}\n', "is JSON over several lines: "),
        ("fleet.csv", "room,stream\n1,2\n", "is a table (CSV): "),
        ("fleet", "Action;Key\nRegisterAgent;a\n", "is a table (CSV): "),
        ("fleet.jsonl", '[[fleet]]\nAction = "RegisterAgent"\n', "is TOML: "),
        ("fleet.toml", line(), "is JSON Lines, as its suffix does not say"),
        ("fleet.toml", "- Action: RegisterAgent\n", "is YAML: "),
    ],
)
def test_another_format_is_one_line_that_says_what_is_taken(tmp_path: Path, name: str, text: str, said: str) -> None:
    (found,) = problems(read(tmp_path, text, name))
    assert said in found


def test_a_file_that_windows_wrote_as_utf_16_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "fleet.jsonl"
    path.write_text(line() * 3, encoding="utf-16")
    (found,) = problems(list(Fleet(path)))
    assert "save it as UTF-8" in found


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
    assert "KEY is not UTF-8 text" in problems(read(tmp_path, body("${KEY}"), KEY="\udcff"))[0]
    assert problems(read(tmp_path, body("${KEY}"))) == [
        "fleet.jsonl:1: Body.LLM.ApiKey: the environment variable KEY is not set, and ${KEY} has no default"
    ]


TOML = """
[defaults.CreateDigitalHumanStreamTask]
TTL = 100
DigitalHumanConfig = { DigitalHumanId = "h", BackgroundColor = "#000000" }

[[fleet]]
Action = "RegisterAgent"
Body = { AgentId = "guide", Name = "a {{n}} stays, {so} does this" }

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
    assert agent.action.to_wire() == {"AgentId": "guide", "Name": "a {n} stays, {so} does this"}
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


def test_a_count_may_come_from_the_environment_and_none_switches_an_entry_off(tmp_path: Path) -> None:
    assert len(read(tmp_path, TOML.replace("Count = 3", "Count = 0"), "fleet.toml")) == 1
    counted = TOML.replace("Count = 3", 'Count = "${SCREENS:-2}"')
    assert len(entries(read(tmp_path, counted, "fleet.toml"))) == 3
    assert len(entries(read(tmp_path, counted, "fleet.toml", SCREENS="5"))) == 6
    assert "Count: must be an integer" in problems(read(tmp_path, counted, "fleet.toml", SCREENS="many"))[0]
    unset = TOML.replace("Count = 3", 'Count = "${SCREENS}"')
    assert "Count: the environment variable SCREENS is not set" in problems(read(tmp_path, unset, "fleet.toml"))[0]


def test_the_number_without_a_count_is_a_mistake(tmp_path: Path) -> None:
    (found,) = problems(read(tmp_path, TOML.replace("Count = 3", "").replace("{n}", "1"), "fleet.toml"))
    assert found.endswith(
        "RTCConfig.RoomId: {n} stands for a number, but the entry has no Count or Rows. Write {{n}} for a plain {n}"
    )


ROWS = """
[[fleet]]
Action = "CreateDigitalHumanStreamTask"
Key = "{Room Name}/{n}"
Rows = "screens.csv"
[fleet.Body]
TTL = "{ttl}"
DigitalHumanConfig = { DigitalHumanId = "h", BackgroundColor = "{colour}" }
RTCConfig = { RoomId = "r-{n:03}", StreamId = "s-{stream}" }
"""


def rows(tmp_path: Path, table: str | bytes, text: str = ROWS) -> list[Located]:
    (tmp_path / "screens.csv").write_bytes(table.encode() if isinstance(table, str) else table)
    return read(tmp_path, text, "fleet.toml")


SCREENS = 'Room Name,stream,ttl,colour\n"Hall ""A"", left",1,600,\nB,2,,#ffffff\n'


@pytest.mark.parametrize(
    "table",
    [
        SCREENS.encode(),
        SCREENS.encode("utf-8-sig"),
        SCREENS.encode("utf-16"),
        SCREENS.replace("\n", "\r\n").encode(),
        SCREENS.replace("left,", "left").replace(",", ";").replace('""A"";', '""A"",').encode("utf-8-sig"),
        ("sep=;\r\n" + SCREENS.replace(",", ";").replace('""A"";', '""A"",')).encode(),
        SCREENS.replace(",", "\t").replace('""A""\t', '""A"",').encode(),
        (SCREENS + ",,,\n\n").encode(),
        SCREENS.replace("\n", ",,\n").encode(),
    ],
    ids=["plain", "bom", "utf-16", "crlf", "semicolons", "sep line", "tabs", "blank lines", "blank columns"],
)
def test_rows_of_a_spreadsheet_fill_an_entry_typed_by_its_fields(tmp_path: Path, table: bytes) -> None:
    first, second = entries(rows(tmp_path, table))
    assert (first.key, second.key) == ('Hall "A", left/1', "B/2")
    assert first.action.to_wire() == {
        "TTL": 600,
        "DigitalHumanConfig": {"DigitalHumanId": "h"},
        "RTCConfig": {"RoomId": "r-001", "StreamId": "s-1"},
    }
    assert second.action.to_wire() == {
        "DigitalHumanConfig": {"DigitalHumanId": "h", "BackgroundColor": "#ffffff"},
        "RTCConfig": {"RoomId": "r-002", "StreamId": "s-2"},
    }


def test_the_place_of_a_row_is_its_line_in_the_table(tmp_path: Path) -> None:
    found = problems(rows(tmp_path, SCREENS.replace("600", "soon")))
    assert found == ["fleet.toml:2 (entry 1, screens.csv:2): Body.TTL: must be an integer (got 'soon')"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "Rows: cannot read"),
        ("", "Rows: screens.csv is empty"),
        ("a,a\n1,2\n", "Rows: screens.csv has two columns 'a'"),
        ("a,{b}\n1,2\n", "Rows: screens.csv: a column's name cannot hold braces or colons: '{b}'"),
        ("Room Name,stream,ttl,colour\nA,1\n", "screens.csv:2: has 2 cells, but the first line names 4 columns"),
        ('Room Name,stream,ttl,colour\n"A,1\n', "screens.csv:2: "),
        ("Room Name,stream,ttl,colour\nB\xe4r,1,,\n".encode("cp1252"), "screens.csv is not UTF-8"),
        ("Room Name,stream,ttl,color\nA,1,,\n", "{colour} is no column of screens.csv; did you mean color?"),
    ],
)
def test_a_mistake_in_a_table_names_the_table(tmp_path: Path, table: str | bytes | None, said: str) -> None:
    found = problems(read(tmp_path, ROWS, "fleet.toml") if table is None else rows(tmp_path, table))
    assert said in found[0]


def test_rows_and_count_exclude_each_other_and_rows_is_a_path(tmp_path: Path) -> None:
    assert "cannot stand beside Count" in problems(rows(tmp_path, SCREENS, ROWS.replace("Rows =", "Count = 2\nRows =")))[0]
    assert "must be the path" in problems(rows(tmp_path, SCREENS, ROWS.replace('"screens.csv"', "5")))[0]
    assert "SCREENS is not set" in problems(rows(tmp_path, SCREENS, ROWS.replace('"screens.csv"', '"${SCREENS}"')))[0]


def test_a_workbook_that_is_given_as_a_fleet_is_told_how_to_be_saved(tmp_path: Path) -> None:
    (tmp_path / "fleet.xlsx").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "save it as CSV" in problems(list(Fleet(tmp_path / "fleet.xlsx")))[0]


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("IsInterrupt", "TRUE", True),
        ("IsInterrupt", "no", False),
        ("Count", "12", 12),
        ("Count", "30.0", 30),
        ("Count", "1.5", "1.5"),
        ("Temperature", "0.5", 0.5),
        ("Temperature", "1", 1),
        ("Temperature", "1,5", "1,5"),
        ("Temperature", "nan", "nan"),
        ("Name", "12", "12"),
    ],
)
def test_a_cell_takes_the_type_of_its_field(kind: str, cell: str, value: object) -> None:
    kinds = {"IsInterrupt": Kind.BOOLEAN, "Count": Kind.INTEGER, "Temperature": Kind.NUMBER, "Name": Kind.TEXT}
    assert typed(cell, kinds[kind]) == value


@pytest.mark.parametrize(("value", "said"), [("nan", "not nan"), ("-inf", "not -inf"), ("2026-01-02", 'as text, "2026-01-02"')])
def test_what_json_cannot_carry_is_named(tmp_path: Path, value: str, said: str) -> None:
    text = f"[[fleet]]\nAction = 'RegisterAgent'\nBody = {{ AgentId = 'a', LLM = {{ Params = {{ x = [{value}] }} }} }}"
    (found,) = problems(read(tmp_path, text, "fleet.toml"))
    assert "Body.LLM.Params.x[0]: " in found
    assert said in found


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
        ("[[fleet]]\nAction = 'RegisterAgent'\nCount = -1", "fleet.toml:1 (entry 1): Count: must be an integer from 0"),
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


def test_what_ends_by_itself_does_so_after_the_vendors_time_unless_one_is_set() -> None:
    assert unseen_life(CreateDigitalHumanStreamTask.from_wire(TASK)) == 900
    assert unseen_life(CreateDigitalHumanStreamTask.from_wire(TASK | {"MaxIdleTime": 50})) == 50
    assert unseen_life(CreateDigitalHumanStreamTask.from_wire(TASK | {"TTL": 60})) == 60
    assert unseen_life(RegisterAgent(agent_id="a")) is None
