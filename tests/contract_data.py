"""The vendor's documented fields (``data/contract.json``) as objects, and bodies made from them.

The data was written down from the documentation, not from the structs: what the tests derive from it is a second
opinion on them.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "contract.json").read_text(encoding="utf-8"))

ACTION_NAMES: list[str] = sorted(DATA["actions"])

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Field:
    """A documented field."""

    kind: str
    required: bool = False
    low: float | None = None
    high: float | None = None
    min_chars: int = 0
    max_chars: int | None = None
    max_bytes: int | None = None
    max_items: int | None = None
    chars: str | None = None
    pattern: str | None = None
    not_blank: bool = False
    one_of: tuple[Any, ...] = ()
    known: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    values: str = "any"
    secret: bool = False
    secret_keys: tuple[str, ...] = ()
    deprecated: bool = False
    unit: str = ""
    src: str = ""
    of: Field | None = None
    fields: dict[str, Field] = field(default_factory=dict, hash=False)

    @property
    def alphabet(self) -> str | None:
        """Every character that the field takes, where that is restricted."""
        if self.chars is None:
            return None
        runs = {"0-9": "0123456789", "A-Z": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "a-z": "abcdefghijklmnopqrstuvwxyz"}
        rest, allowed = self.chars, ""
        for run, letters in runs.items():
            assert run in rest
            rest = rest.replace(run, "", 1)
            allowed += letters
        return allowed + rest


def _field(data: dict[str, Any]) -> Field:
    values = {key: value for key, value in data.items() if key not in {"object", "fields", "of"}}
    for key in ("one_of", "known", "needs", "secret_keys"):
        values[key] = tuple(values.get(key, ()))
    inner = DATA["types"][data["object"]] if "object" in data else data.get("fields", {})
    return Field(
        **values,
        fields={name: _field(value) for name, value in inner.items()},
        of=_field(data["of"]) if "of" in data else None,
    )


@cache
def request_of(action: str) -> dict[str, Field]:
    return {name: _field(data) for name, data in DATA["actions"][action]["request"].items()}


@cache
def response_of(action: str) -> dict[str, Field]:
    return {name: _field(data) for name, data in DATA["actions"][action]["response"].items()}


def walk(fields: dict[str, Field], at: Path_ = ()) -> Iterator[tuple[Path_, Field]]:
    """Every field below, with its path; a list's item stands under index 0."""
    for name, spec in fields.items():
        yield (*at, name), spec
        yield from walk(spec.fields, (*at, name))
        if spec.of is not None:
            yield (*at, name, 0), spec.of
            yield from walk(spec.of.fields, (*at, name, 0))


def wire_path(path: Path_) -> str:
    """``RTC.RoomId``, ``Messages[0].Role``."""
    return re.sub(r"\.\[", "[", ".".join(f"[{part}]" if isinstance(part, int) else part for part in path))


# --- bodies ------------------------------------------------------------------------------------------------------


def plain_value(name: str, spec: Field) -> Any:
    """The simplest value that the field takes."""
    if spec.one_of:
        return spec.one_of[0]
    match spec.kind:
        case "string":
            return name.lower()[: spec.max_chars] if spec.pattern is None else "#00ff00"
        case "integer" | "number":
            return 1 if spec.low is None else spec.low
        case "boolean":
            return False
        case "object":
            return plain_object(spec.fields)
        case "map":
            return {key: {"api_key": "k"} for key in spec.needs}
        case "list":
            assert spec.of is not None
            return [plain_value(name, spec.of)]
    raise AssertionError(spec.kind)


def plain_object(fields: dict[str, Field]) -> dict[str, Any]:
    return {name: plain_value(name, spec) for name, spec in fields.items() if spec.required}


def plain_body(action: str) -> dict[str, Any]:
    """The smallest sound body."""
    body = plain_object(request_of(action))
    if action == "CreateLiveDigitalHumanAgentInstance":
        body["RTC"] = plain_object(request_of(action)["RTC"].fields)
    return body


def with_value(action: str, path: Path_, value: Any) -> dict[str, Any]:
    """The smallest sound body that has `value` at `path`."""
    body = plain_body(action)
    fields, here = request_of(action), body
    *parents, last = path
    for index, part in enumerate(parents):
        if isinstance(part, int):
            continue
        spec = fields[part]
        if part not in here:
            here[part] = plain_value(part, spec)
        here = here[part]
        fields = spec.fields
        if spec.of is not None:
            if index + 1 < len(parents):
                here, fields = here[0], spec.of.fields
            else:
                here[0] = value
                return body
    assert isinstance(last, str)
    here[last] = value
    return body


# --- bounds: values at the bound and one past it, with the rule that the latter breaks ------------------------------


def bounds(spec: Field) -> Iterator[tuple[Any, Any, str]]:
    """Triples of a value that is just allowed, one that is just not, and the name of the rule."""
    letter = (spec.alphabet or "x")[-1]
    if spec.low is not None and spec.high is not None:
        step: float = 1 if spec.kind == "integer" else 1e-6
        yield spec.low, spec.low - step, "range"
        yield spec.high, spec.high + step, "range"
    if spec.min_chars:
        yield letter * spec.min_chars, letter * (spec.min_chars - 1), "length"
    if spec.max_chars is not None:
        yield letter * spec.max_chars, letter * (spec.max_chars + 1), "length"
    if spec.max_bytes is not None and spec.alphabet is None:
        wide = "é" * (spec.max_bytes // 2)
        past = "length" if spec.max_chars is not None and len(wide) + 1 > spec.max_chars else "bytes"
        yield wide, wide + "é", past
    elif spec.max_bytes is not None and spec.max_chars is None:
        yield letter * spec.max_bytes, letter * (spec.max_bytes + 1), "bytes"
    if spec.alphabet is not None:
        most = min(bound for bound in (spec.max_chars, spec.max_bytes, 10_000) if bound is not None)
        for at in range(0, len(spec.alphabet), most):
            yield spec.alphabet[at : at + most], "a b", "characters"
        for alien in sorted({chr(code) for code in range(32, 127)} - set(spec.alphabet)):
            yield letter, letter + alien, "characters"
        yield letter, letter + "é", "characters"
        yield letter, letter + "\n", "characters"
    if spec.pattern is not None:
        yield "#0aF9ce", "#0aF9c", "characters"
        yield "#000000", "000000", "characters"
        yield "#ABCDEF", "#ABCDEG", "characters"
        yield "#abcdef", "#abcdef\n", "characters"
    if spec.not_blank:
        yield " [ ", " \t\n", "characters"
    for value in spec.one_of:
        aliens = ("nobody",) if spec.kind == "string" else (min(spec.one_of) - 1, max(spec.one_of) + 1)
        for alien in aliens:
            yield value, alien, "choice"
    for value in spec.known:
        yield value, 1, "type"
    if spec.max_items is not None:
        assert spec.of is not None
        item = plain_value("item", spec.of)
        yield [item] * spec.max_items, [item] * (spec.max_items + 1), "items"


WRONG: dict[str, tuple[Any, ...]] = {
    "string": (1, 1.5, True, ["a"], {"a": 1}),
    "integer": ("1", 1.5, True, [1], {"a": 1}),
    "number": ("1", True, [1], {"a": 1}),
    "boolean": (0, 1, "true", [True], {"a": True}),
    "object": ("a", 1, True, [{}]),
    "map": ("a", 1, True, [{}]),
    "list": ("a", 1, True, {"a": 1}),
}
"""Values of other kinds than the field's."""


# --- random bodies -----------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def values(spec: Field) -> st.SearchStrategy[Any]:
    """Sound values of a field."""
    if spec.one_of:
        return st.sampled_from(spec.one_of)
    match spec.kind:
        case "string":
            return _strings(spec)
        case "integer":
            return st.integers(
                -(2**63) if spec.low is None else int(spec.low), 2**63 - 1 if spec.high is None else int(spec.high)
            )
        case "number":
            return st.floats(spec.low, spec.high, allow_nan=False, allow_infinity=False) | st.integers(
                int(spec.low or 0), int(spec.high or 0)
            )
        case "boolean":
            return st.booleans()
        case "object":
            return objects(spec.fields)
        case "map":
            needed = st.fixed_dictionaries(
                {key: st.dictionaries(st.text(max_size=4), st.text(max_size=4)) for key in spec.needs}
            )
            inner = st.text(max_size=6) if spec.values == "string" else JSON
            more = st.dictionaries(st.text(max_size=4), inner, max_size=2)
            return st.tuples(more, needed).map(lambda both: {**both[0], **both[1]})
        case "list":
            assert spec.of is not None
            return st.lists(values(spec.of), max_size=min(spec.max_items or 3, 3))
    raise AssertionError(spec.kind)


def _strings(spec: Field) -> st.SearchStrategy[str]:
    if spec.pattern is not None:
        return st.from_regex(spec.pattern.removeprefix("^").removesuffix("$"), fullmatch=True)
    most = min(bound for bound in (spec.max_chars, spec.max_bytes, 200) if bound is not None)
    letters = st.characters(exclude_categories=["Cs"]) if spec.alphabet is None else st.sampled_from(spec.alphabet)
    text = st.text(letters, min_size=spec.min_chars, max_size=most)
    if spec.max_bytes is not None:
        text = text.filter(lambda value: len(value.encode()) <= (spec.max_bytes or 0))
    if spec.not_blank:
        text = text.filter(lambda value: bool(value.strip()))
    return text | st.sampled_from(spec.known) if spec.known else text


def objects(fields: dict[str, Field]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {name: values(spec) for name, spec in fields.items() if spec.required},
        optional={name: values(spec) for name, spec in fields.items() if not spec.required},
    )


def keeps_rules(action: str, body: dict[str, Any]) -> bool:
    """Whether a body of sound fields keeps the documented rules between fields."""
    tts = body.get("TTS")
    if tts and tts["Vendor"] in {"ByteDanceFlowing", "CosyVoice"} and len(tts.get("TerminatorText", "")) > 1:
        return False
    if "DigitalHuman" in action and body.get("AdvancedConfig", {}).get("DisableTTS"):
        return False
    if action == "CreateLiveDigitalHumanAgentInstance" and not {"RTC", "CDN"} & set(body):
        return False
    return not (body.get("UserId") and body["UserId"] == body.get("RTC", {}).get("AgentUserId"))


def bodies(action: str) -> st.SearchStrategy[dict[str, Any]]:
    """Sound bodies of an Action."""
    return objects(request_of(action)).filter(lambda body: keeps_rules(action, body))


@dataclass(frozen=True)
class Broken:
    """A body with one thing wrong."""

    body: dict[str, Any]
    path: str
    rule: str


def breaks(action: str) -> list[Broken]:
    """Every single break of the smallest sound body that the contract data knows."""
    found: list[Broken] = []
    for path, spec in walk(request_of(action)):
        where = wire_path(path)
        found.extend(Broken(with_value(action, path, past), where, rule) for _, past, rule in bounds(spec))
        found.extend(Broken(with_value(action, path, wrong), where, "type") for wrong in WRONG[spec.kind])
        found.extend(Broken(with_value(action, path, {}), f"{where}.{key}", "required") for key in spec.needs)
        if spec.values == "string":
            found.append(Broken(with_value(action, path, {"a": "b", "key": 1}), f"{where}.key", "type"))
        if spec.required:
            without = with_value(action, path, plain_value(str(path[-1]), spec))
            nulled = copy.deepcopy(without)
            for body, null in ((without, False), (nulled, True)):
                parent: Any = body
                for part in path[:-1]:
                    parent = parent[part]
                if null:
                    parent[path[-1]] = None
                else:
                    del parent[path[-1]]
            found += [Broken(without, where, "required"), Broken(nulled, where, "required")]
    return found
