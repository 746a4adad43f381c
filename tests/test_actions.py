"""The Actions against what the vendor documents: nothing is missing, nothing misnamed, everything explained."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import pytest
from contract_data import ACTION_NAMES, DATA, Field, request_of, response_of, walk

import zego_aigc
from zego_aigc import aiagent, digitalhuman
from zego_aigc.schema.actions import ACTIONS, Action, Repeat, Result, Wire
from zego_aigc.schema.fields import FieldSpec, Kind, field_docs, fields_of
from zego_aigc.schema.naming import snake, wire

KINDS = {
    "string": Kind.TEXT,
    "integer": Kind.INTEGER,
    "number": Kind.NUMBER,
    "boolean": Kind.BOOLEAN,
    "object": Kind.OBJECT,
    "map": Kind.MAP,
    "list": Kind.LIST,
}

STRUCTS = [
    value
    for package in (aiagent, digitalhuman)
    for value in map(vars(package).__getitem__, package.__all__)
    if isinstance(value, type) and issubclass(value, msgspec.Struct)
]


def compare(cls: type[msgspec.Struct], fields: dict[str, Field], where: str) -> list[str]:
    """How a struct differs from the documented fields, by name."""
    specs = {spec.wire: spec for spec in fields_of(cls)}
    found = [f"{where}: {cls.__name__} lacks {name}" for name in fields if name not in specs]
    found += [f"{where}: {cls.__name__} has {name}, which is not documented" for name in specs if name not in fields]
    for name, field in fields.items():
        if (spec := specs.get(name)) is None:
            continue
        if spec.attribute != snake(name):
            found.append(f"{where}.{name} is called {spec.attribute}")
        if field.fields and field.kind == "object":
            found += compare(spec.struct, field.fields, f"{where}.{name}")
        if field.of is not None and field.of.fields:
            assert spec.item is not None
            found += compare(spec.item.struct, field.of.fields, f"{where}.{name}[]")
    return found


def leaves(cls: type[msgspec.Struct], fields: dict[str, Field]) -> list[tuple[str, FieldSpec, Field]]:
    """Every field of a struct and of the structs below, beside what is documented about it."""
    found: list[tuple[str, FieldSpec, Field]] = []
    for spec in fields_of(cls):
        field = fields[spec.wire]
        found.append((f"{cls.__name__}.{spec.wire}", spec, field))
        if field.kind == "object":
            found += leaves(spec.struct, field.fields)
        if field.of is not None:
            assert spec.item is not None
            found.append((f"{cls.__name__}.{spec.wire}[]", spec.item, field.of))
            if field.of.kind == "object":
                found += leaves(spec.item.struct, field.of.fields)
    return found


def test_every_documented_action_is_registered_under_its_name() -> None:
    ours = {name for name, cls in ACTIONS.items() if cls.__module__.startswith("zego_aigc.")}
    assert ours == set(ACTION_NAMES)
    assert len(ours) == 33
    assert all(name == cls.__name__ for name, cls in ACTIONS.items())
    assert zego_aigc.ACTIONS is ACTIONS


def test_nothing_is_missing_from_the_contract_data() -> None:
    # The vendor's pages list 497 fields, counted wherever they occur; 22 of those are placeholders such as "other_params".
    documented = [
        field
        for name in ACTION_NAMES
        for fields in (request_of(name), response_of(name))
        for path, field in walk(fields)
        if not isinstance(path[-1], int) and field.src != "M"
    ]
    assert len(documented) + sum(len(field.needs) for field in documented) == 497 - 22


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_a_request_has_every_documented_field_under_the_rule_made_name_and_no_other(name: str) -> None:
    assert compare(ACTIONS[name], request_of(name), name) == []


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_a_result_has_every_documented_field_under_the_rule_made_name_and_no_other(name: str) -> None:
    cls = ACTIONS[name]
    if not response_of(name):
        assert cls.result is None
    else:
        assert compare(cls.result, response_of(name), name) == []


def every_wire_name() -> set[str]:
    return {
        str(path[-1])
        for name in ACTION_NAMES
        for fields in (request_of(name), response_of(name))
        for path, _ in walk(fields)
        if not isinstance(path[-1], int)
    }


@pytest.mark.parametrize("name", sorted(every_wire_name()))
def test_the_naming_rule_goes_both_ways_for_every_wire_name(name: str) -> None:
    python = snake(name)
    assert wire(python) == name
    assert python.isidentifier()
    assert python == python.lower()


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_a_request_declares_what_is_documented_about_each_field(name: str) -> None:
    for where, spec, field in leaves(ACTIONS[name], request_of(name)):
        text, number = spec.text, spec.number
        assert spec.kind is KINDS[field.kind], where
        if not where.endswith("[]"):
            assert spec.required == field.required, where
        assert (number and (number.low, number.high)) == (None if field.low is None else (field.low, field.high)), where
        assert (spec.choices.values if spec.choices else ()) == field.one_of, where
        assert (text.max_chars if text else None) == field.max_chars, where
        assert (text.max_bytes if text else None) == field.max_bytes, where
        assert (text.min_chars if text else 0) == field.min_chars, where
        assert (spec.items.most if spec.items else None) == field.max_items, where
        assert (spec.deprecated is not None) == field.deprecated, where
        assert (spec.secret.keys if spec.secret else None) == (field.secret_keys or None if not field.secret else ()), where
        assert set(spec.known) >= set(field.known), where


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_a_result_keeps_secrets_secret(name: str) -> None:
    cls = ACTIONS[name]
    if cls.result is not None:
        for where, spec, field in leaves(cls.result, response_of(name)):
            assert (spec.secret is not None) == bool(field.secret or field.secret_keys), where


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_a_result_requires_only_ids(name: str) -> None:
    cls = ACTIONS[name]
    if cls.result is not None:
        for where, spec, _ in leaves(cls.result, response_of(name)):
            assert not spec.required or spec.wire.endswith(("Id", "WssAddress", "")), where
            if spec.required and not where.endswith("[]"):
                assert spec.wire in {
                    "AgentId",
                    "AgentInstanceId",
                    "DigitalHumanId",
                    "DriveId",
                    "TaskId",
                    "TimbreId",
                    "WssAddress",
                    # inside what an agent was registered with, where the service checked it
                    "BeginCharacters",
                    "EndCharacters",
                }, where


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_an_action_says_where_it_belongs_and_links_its_page(name: str) -> None:
    cls = ACTIONS[name]
    package = {"aiagent": aiagent, "digitalhuman": digitalhuman}[DATA["actions"][name]["service"]]
    assert cls.service.value == DATA["actions"][name]["service"]
    assert vars(package)[name] is cls
    assert cls.page.startswith("https://www.zegocloud.com/docs/")


def test_every_action_has_a_page_of_its_own() -> None:
    ours = [ACTIONS[name].page for name in ACTION_NAMES]
    assert len(set(ours)) == len(ours)


@pytest.mark.parametrize("cls", STRUCTS, ids=lambda cls: cls.__name__)
def test_every_struct_and_every_field_is_explained(cls: type[msgspec.Struct]) -> None:
    assert inspect.getdoc(cls), cls
    docs = field_docs(cls)
    for spec in fields_of(cls):
        assert docs.get(spec.attribute, "").endswith("."), f"{cls.__name__}.{spec.attribute}"


@pytest.mark.parametrize("cls", STRUCTS, ids=lambda cls: cls.__name__)
def test_rules_between_fields_are_listed_where_there_are_any(cls: type[msgspec.Struct]) -> None:
    if (rules := getattr(cls, "rules", None)) is not None:
        assert "- " in (inspect.getdoc(rules) or "")


def test_packages_export_what_they_hold_and_nothing_else() -> None:
    for package in (aiagent, digitalhuman):
        assert package.__all__ == sorted(package.__all__, key=lambda name: (not name.isupper(), name))
        public = {name for name in vars(package) if name.isidentifier() and not name.startswith("_") and name != "annotations"}
        assert public == set(package.__all__)


# The table of DESIGN: what a client may do after a lost answer.
REPEATS = {
    Repeat.READS: ("Query", "Get", "List"),
    Repeat.OVERWRITES: ("Update",),
    Repeat.ENDS: ("Delete", "StopDigitalHumanStreamTask", "Unregister"),
    Repeat.CREATES: ("Create", "Register"),
    Repeat.ONCE: ("Send", "DriveBy", "DoAction", "Interrupt", "Reset", "Add", "StartListening", "StopListening"),
}


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_an_action_says_how_a_lost_answer_is_handled(name: str) -> None:
    (expected,) = [repeat for repeat, starts in REPEATS.items() if name.startswith(starts)]
    assert ACTIONS[name].repeat is expected


def test_listening_may_be_repeated_once_it_is_numbered() -> None:
    for cls in (aiagent.StartListening, aiagent.StopListening):
        assert cls(agent_instance_id="i").repeatable() is Repeat.ONCE
        assert cls(agent_instance_id="i", sequence=1).repeatable() is Repeat.OVERWRITES


def test_requests_and_results_are_frozen_and_take_keywords_only() -> None:
    structs: list[Any] = [*STRUCTS]
    for cls in structs:
        config = cls.__struct_config__
        assert config.frozen, cls
        assert issubclass(cls, Wire | Result), cls
        with pytest.raises(TypeError):
            cls("positional")


def test_every_result_type_stands_in_the_brackets() -> None:
    registered: dict[str, type[Action[Any]]] = {name: ACTIONS[name] for name in ACTION_NAMES}
    for cls in registered.values():
        assert cls.result is None or issubclass(cls.result, Result)
