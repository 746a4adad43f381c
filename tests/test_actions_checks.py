"""Checks before sending: every documented bound on both sides, and the quick and the thorough look in step."""

from __future__ import annotations

import warnings
from typing import Any

import msgspec
import pytest
from contract_data import (
    ACTION_NAMES,
    bodies,
    bounds,
    breaks,
    keeps_rules,
    plain_body,
    request_of,
    values,
    walk,
    wire_path,
    with_value,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zego_aigc.errors import InvalidRequest, VendorAdvice
from zego_aigc.schema import validation
from zego_aigc.schema.actions import ACTIONS, Wire
from zego_aigc.schema.codegen import compiled_check
from zego_aigc.schema.fields import FieldSpec, Kind, fields_of

few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def problems_of(name: str, body: Any) -> list[tuple[str, str]]:
    problems, _ = validation.validate(ACTIONS[name], body, extra_is_known=False)
    return [(problem.path, problem.rule) for problem in problems]


def unchecked(cls: type[Wire], body: dict[str, Any]) -> Wire:
    """The struct that a careless caller would build: nothing is checked."""

    def built(spec: FieldSpec, value: Any) -> Any:
        if spec.kind is Kind.OBJECT and isinstance(value, dict):
            return unchecked(spec.struct, value)
        if spec.kind is Kind.LIST and isinstance(value, list) and spec.item is not None:
            return [built(spec.item, inner) for inner in value]
        return value

    declared = {spec.wire: spec for spec in fields_of(cls)}
    fields = {declared[key].attribute: built(declared[key], value) for key, value in body.items() if key in declared}
    return cls(**fields, extra={key: value for key, value in body.items() if key not in declared} or None)


def buildable(cls: type[Wire], body: dict[str, Any]) -> Wire | None:
    try:
        return unchecked(cls, body)
    except TypeError:  # a required field is not there: Python refuses it before we can
        return None


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_the_smallest_body_passes(name: str) -> None:
    assert problems_of(name, plain_body(name)) == []


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_a_value_at_the_bound_passes_and_one_past_it_is_named(name: str) -> None:
    for path, spec in walk(request_of(name)):
        for fits, past, rule in bounds(spec):
            allowed = with_value(name, path, fits)
            if keeps_rules(name, allowed):
                assert problems_of(name, allowed) == [], (wire_path(path), fits)
            assert problems_of(name, with_value(name, path, past)) == [(wire_path(path), rule)], (wire_path(path), past)


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_every_break_is_found_alone_where_it_is(name: str) -> None:
    for broken in breaks(name):
        found = problems_of(name, broken.body)
        assert found == [(broken.path, broken.rule)], broken


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_a_broken_struct_raises_and_says_the_same_as_its_wire_form(name: str) -> None:
    cls = ACTIONS[name]
    for broken in breaks(name):
        with pytest.raises(InvalidRequest) as from_wire:
            cls.from_wire(broken.body)
        assert [(problem.path, problem.rule) for problem in from_wire.value.problems] == problems_of(name, broken.body)
        if (action := buildable(cls, broken.body)) is not None:
            with pytest.raises(InvalidRequest) as encoding:
                validation.encode(action)
            assert encoding.value.action == name
            assert (broken.path, broken.rule) in {(problem.path, problem.rule) for problem in encoding.value.problems}, broken


@pytest.mark.parametrize("name", ACTION_NAMES)
@few
@given(data=st.data())
def test_sound_bodies_pass_and_come_back_as_they_went(name: str, data: st.DataObject) -> None:
    body = data.draw(bodies(name))
    assert problems_of(name, body) == []
    action = ACTIONS[name].from_wire(body)
    assert action.to_wire() == body
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VendorAdvice)
        sent = msgspec.json.decode(validation.encode(action))
    assert sent == body
    assert ACTIONS[name].from_wire(sent) == action
    assert action.extra is None


@pytest.mark.parametrize("name", ACTION_NAMES)
@few
@given(data=st.data())
def test_the_quick_look_never_passes_what_the_thorough_one_refuses(name: str, data: st.DataObject) -> None:
    cls = ACTIONS[name]
    body = data.draw(bodies(name))
    paths = [(path, spec) for path, spec in walk(request_of(name)) if not isinstance(path[-1], int)]
    if paths:  # spoil one field with a value of any kind
        path, spec = data.draw(st.sampled_from(paths))
        spoilt: Any = data.draw(
            values(spec)
            | st.integers()
            | st.floats()
            | st.booleans()
            | st.text(max_size=200)
            | st.lists(st.none() | st.text(max_size=3), max_size=3)
            | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
        )
        here: Any = body
        for part in path[:-1]:
            if not (here := here.get(part) if isinstance(part, str) else here[part : part + 1] and here[part]):
                break
        else:
            here[path[-1]] = spoilt
    action = buildable(cls, body)
    if action is None:
        return
    problems, advice = validation.validate(cls, validation.to_wire(action), extra_is_known=True)
    quick = compiled_check(cls)(action)
    if quick:
        assert not problems
        assert not advice
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert msgspec.json.decode(validation.encode(action)) == body
    elif not problems and not advice:
        # It may be over-careful, but then the thorough look settles it without a word.
        validation.encode(action)


def test_all_problems_of_a_request_are_in_one_error() -> None:
    body = plain_body("CreateDigitalHumanAgentInstance")
    body["RTC"]["RoomId"] = "a b"
    body["RTC"]["AgentUserId"] = "u" * 33
    body["LLM"] = {"Url": "https://llm.example", "ApiKey": "sk-1", "Temperature": 3}
    body["MessageHistory"] = {"SyncMode": 1, "Messages": [{"Role": "user", "Content": "hi"}, {"Role": "robot"}]}
    body["Unheard"] = 1
    body["agent_id"] = "x"
    del body["UserId"]
    with pytest.raises(InvalidRequest) as error:
        ACTIONS["CreateDigitalHumanAgentInstance"].from_wire(body, unknown="error")
    assert [(problem.path, problem.rule) for problem in error.value.problems] == [
        ("UserId", "required"),
        ("RTC.RoomId", "characters"),
        ("RTC.AgentUserId", "length"),
        ("LLM.Model", "required"),
        ("LLM.Temperature", "range"),
        ("MessageHistory.Messages[1].Role", "choice"),
        ("MessageHistory.Messages[1].Content", "required"),
        ("Unheard", "unknown"),
        ("agent_id", "unknown"),
    ]
    assert "did you mean AgentId?" in str(error.value)
    assert "sk-1" not in str(error.value)


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_no_secret_is_in_a_message(name: str) -> None:
    for path, spec in walk(request_of(name)):
        if spec.secret:
            with pytest.raises(InvalidRequest) as error:
                ACTIONS[name].from_wire(with_value(name, path, {"hunter2": "hunter2"}))
            assert "hunter2" not in str(error.value)


def test_a_body_that_is_not_an_object_is_named() -> None:
    with pytest.raises(InvalidRequest, match="must be an object, not a list"):
        ACTIONS["ListAgents"].from_wire([])  # type: ignore[arg-type]  # what a hand-written fleet file may hold


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_sequence_numbers_keep_64_bits(number: int) -> None:
    body = {"AgentInstanceId": "i", "Sequence": number}
    action = ACTIONS["StartListening"].from_wire(body)
    assert msgspec.json.decode(validation.encode(action)) == body
    past = number + (1 if number > 0 else -1)
    assert problems_of("StartListening", {**body, "Sequence": past}) == [("Sequence", "range")]


def test_large_bounds_are_written_out() -> None:
    with pytest.raises(InvalidRequest, match="must be 0 to 1000000"):
        ACTIONS["GetTimbreList"].from_wire({"Offset": 1_000_001})
