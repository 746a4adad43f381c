"""What an Action's class says about itself, as text: for ``zego-aigc describe`` and the index in the docs."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.schema.actions import ACTIONS, Action, Repeat, Service, Wire
from zego_aigc.schema.fields import FieldSpec, Kind, field_docs, fields_of
from zego_aigc.schema.naming import did_you_mean

if TYPE_CHECKING:
    from zego_aigc.schema.constraints import Text

__all__ = ["describe", "in_reading_order", "lost_answer", "plain", "rules_of", "service_name", "type_text", "value_text"]

_SERVICES = {Service.AI_AGENT: "AI Agent", Service.DIGITAL_HUMAN: "Digital Human"}

_LOST_ANSWERS = {
    Repeat.READS: "it is sent again",
    Repeat.OVERWRITES: "it is sent again",
    Repeat.ENDS: 'it is sent again, and "not found" then means done',
    Repeat.CREATES: "the service is asked what it made, where it can tell; else OutcomeUnknown is raised",
    Repeat.ONCE: "it is not sent again, since that could do harm; OutcomeUnknown is raised",
}

_TYPES = {
    Kind.TEXT: "string",
    Kind.INTEGER: "integer",
    Kind.NUMBER: "number",
    Kind.BOOLEAN: "boolean",
    Kind.MAP: "map",
    Kind.ANY: "any",
}


def describe(name: str, *, width: int = 100) -> str:
    """Everything there is to know about an Action: purpose, page, body, rules, result.

    Args:
        name: the vendor's name of the Action.
        width: where lines are broken, in characters.

    Raises:
        LookupError: there is no such Action; the message names the closest.
    """
    cls = ACTIONS.get(name)
    if cls is None:
        raise LookupError(f"there is no Action {name!r}{did_you_mean(name, ACTIONS)}")
    return "\n".join(_lines(cls, width))


def in_reading_order() -> list[type[Action[Any]]]:
    """Every Action in the order in which one meets them: by module, and first what makes something."""
    modules = list(dict.fromkeys(cls.__module__ for cls in ACTIONS.values()))
    return sorted(ACTIONS.values(), key=lambda cls: (modules.index(cls.__module__), cls.lifecycle is None))


def _lines(cls: type[Action[Any]], width: int) -> Iterator[str]:
    yield f"{cls.__name__} ({service_name(cls)})"
    for paragraph in plain(inspect.getdoc(cls) or "").split("\n\n"):
        yield ""
        yield textwrap.fill(paragraph, width)
    yield ""
    yield cls.page
    yield textwrap.fill(f"After a lost answer {lost_answer(cls)}.", width)
    yield ""
    yield "Body"
    yield from _fields(cls, width, 1) if fields_of(cls) else ["  {}"]
    yield ""
    if cls.result is None:
        yield "Returns nothing"
    else:
        yield f"Returns {cls.result.__name__}"
        yield from _fields(cls.result, width, 1)


def _fields(cls: type[msgspec.Struct], width: int, depth: int) -> Iterator[str]:
    docs = field_docs(cls)
    request = issubclass(cls, Wire)
    indent = "  " * depth
    for spec in fields_of(cls):
        facts = ", ".join([type_text(spec), *value_text(spec, request=request)])
        yield f"{indent}{spec.wire}: {plain(facts)}"
        yield textwrap.fill(
            plain(docs.get(spec.attribute, "")), width, initial_indent=indent + "    ", subsequent_indent=indent + "    "
        )
        if (inner := spec.struct or (spec.item.struct if spec.item is not None else None)) is not None:
            yield from _fields(inner, width, depth + 1)
    for rule in rules_of(cls):
        yield textwrap.fill(plain(rule), width, initial_indent=f"{indent}- ", subsequent_indent=f"{indent}  ")


# --- the words for facts -----------------------------------------------------------------------------------------


def service_name(cls: type[Action[Any]]) -> str:
    """``AI Agent`` or ``Digital Human``."""
    return _SERVICES[cls.service]


def lost_answer(cls: type[Action[Any]]) -> str:
    """What becomes of a call whose answer was lost, as the end of a sentence."""
    return _LOST_ANSWERS[cls.repeat]


def type_text(spec: FieldSpec) -> str:
    """``string``, ``RTC``, ``list of Message``."""
    if spec.kind is Kind.OBJECT:
        return str(spec.struct.__name__)
    if spec.kind is Kind.LIST:
        return f"list of {type_text(spec.item)}" if spec.item is not None else "list"
    return _TYPES[spec.kind]


def value_text(spec: FieldSpec, *, request: bool) -> list[str]:
    """What a value must be, a phrase a rule. In results nothing is required of anybody."""
    facts = ["required"] if spec.required and request else []
    if spec.choices is not None:
        facts.append(str(spec.choices))
    elif spec.known:
        facts.append(f"such as {', '.join(spec.known)}")
    if spec.number is not None:
        facts.append(f"{spec.number.low:.10g} to {spec.number.high:.10g}")
    if spec.items is not None:
        facts.append(f"at most {spec.items.most} items")
    facts += _text_facts(spec.text)
    if spec.item is not None:
        facts += [f"each {fact}" for fact in value_text(msgspec.structs.replace(spec.item, required=False), request=request)]
    if spec.secret is not None:
        facts.append(f"secret: {', '.join(spec.secret.keys)}" if spec.secret.keys else "secret")
    if spec.deprecated is not None:
        facts.append(f"deprecated: use {spec.deprecated.instead}")
    return facts


def _text_facts(text: Text | None) -> Iterator[str]:
    if text is None:
        return
    if text.form:
        yield text.form
    elif text.min_chars:
        yield "not empty" if text.min_chars == 1 else f"at least {text.min_chars} characters"
    if text.max_bytes is not None:
        yield f"at most {text.max_bytes} bytes"
    elif text.max_chars is not None:
        yield f"at most {text.max_chars} character{'s' if text.max_chars > 1 else ''}"
    if text.chars is not None:
        yield re.sub(r" (\S+)$", r" ``\1``", text.alphabet)


def rules_of(cls: type[msgspec.Struct]) -> list[str]:
    """The rules between a struct's fields, as its ``rules()`` lists them."""
    text = inspect.getdoc(getattr(cls, "rules", None)) or ""
    return [" ".join(item.split()) for item in re.split(r"(?m)^- ", text)[1:]]


def plain(text: str) -> str:
    """A docstring without its markup."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda match: match[1].rpartition(".")[2], text)
    return text.replace("``", "")
