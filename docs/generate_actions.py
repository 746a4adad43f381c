"""The reference of both services: every Action and every struct with its fields, bounds and rules, from the structs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec
from generate_reference import BY_ACTION, MODULES, anchor, inherited, members

from zego_aigc.schema.actions import ACTIONS, Action, Wire
from zego_aigc.schema.describe import lost_answer, rules_of, service_name, type_text, value_text
from zego_aigc.schema.fields import FieldSpec, field_docs, fields_of

ORDER = ["_agents", "_instances", "_control", "_assets", "_streams", "_drives"]

HEAD = """\
Fields bear the vendor's names here. In Python they are written in snake case: `RTC.RoomId` is `rtc.room_id`,
`LLMMetaInfo` is `llm_meta_info`. A field that is not set is not sent. **Advice** is given as a `VendorAdvice` warning and the
request is sent; every other rule that is broken raises `InvalidRequest`, and nothing is sent. Fields newer than the library go
into `extra={"NewField": 1}`, at any level. `zego-aigc describe ACTION` shows the same of one Action.
"""


def action_pages() -> Iterator[tuple[str, str]]:
    """Addresses and texts."""
    for name in MODULES:
        if name in BY_ACTION:
            yield f"reference/{MODULES[name][0]}.md", "\n".join(page(import_module(name)))


def page(package: ModuleType) -> Iterator[str]:
    """A service's page: its Actions, the structs inside them, and what else its module exports."""
    actions = actions_of(package)
    objects = objects_of(package)
    results = list(dict.fromkeys(cls.result for cls in actions if cls.result not in objects and cls.result is not None))
    yield f"# {package.__name__} {{#{package.__name__}}}\n"
    yield HEAD
    yield "| Action | what it does |"
    yield "|-|-|"
    for cls in actions:
        yield f"| {link(cls, package)} | {cell((inspect.getdoc(cls) or '').splitlines()[0])} |"
    yield "\n## Actions\n"
    for cls in actions:
        yield from action(cls, package)
    for title, structs in (("Results", results), ("Objects", objects)):
        yield f"## {title}\n"
        for struct in structs:
            yield from entry(struct, package)
    yield "## More names\n"
    shown = {*actions, *objects, *results}
    for name in sorted(package.__all__, key=str.lower):
        if getattr(package, name) not in shown:
            yield f"::: {package.__name__}.{name}\n"


def actions_of(package: ModuleType) -> list[type[Action[Any]]]:
    """A package's Actions in the order in which one meets them: what makes something comes first."""
    actions = [cls for cls in ACTIONS.values() if vars(package).get(cls.__name__) is cls]
    return sorted(actions, key=lambda cls: (ORDER.index(cls.__module__.rpartition(".")[2]), cls.lifecycle is None))


def objects_of(package: ModuleType) -> list[type[msgspec.Struct]]:
    """The structs that stand inside requests and results, by name."""
    exported = (vars(package)[name] for name in sorted(package.__all__, key=str.lower))
    structs = [cls for cls in exported if isinstance(cls, type) and issubclass(cls, msgspec.Struct)]
    inner = {spec.struct or (spec.item and spec.item.struct) for cls in structs for spec in fields_of(cls)}
    results = {cls.result for cls in actions_of(package)} - inner
    return [cls for cls in structs if not issubclass(cls, Action) and cls not in results]


def action(cls: type[Action[Any]], package: ModuleType) -> Iterator[str]:
    """An Action with its body, and what it returns."""
    returns = "nothing" if cls.result is None else link(cls.result, package)
    facts = (
        f"Returns {returns}. After a lost answer {lost_answer(cls)}. {service_name(cls)}, [the vendor's page]({cls.page}).\n"
    )
    yield from entry(cls, package, "It takes no fields.\n", facts)


def entry(cls: type[msgspec.Struct], package: ModuleType, empty: str = "It has no fields.\n", facts: str = "") -> Iterator[str]:
    """A struct: what it is, its fields and rules, more facts, its own methods, and where to read of the rest."""
    path = f"{package.__name__}.{cls.__name__}"
    yield f"### {cls.__name__} {{#{path}}}\n"
    yield f"{markdown(inspect.getdoc(cls) or '')}\n"
    yield from table(cls, package, empty)
    yield facts
    own, elsewhere = members(cls)
    explained = {*(spec.attribute for spec in fields_of(cls)), "rules"}
    common = {name: f"zego_aigc.Action.{name}" for name in own if hasattr(Action, name) or name in Action.__annotations__}
    for name in own:
        if name not in {*explained, *common}:
            yield f"::: {path}.{name}\n    options: {{heading_level: 4}}\n"
    yield from inherited(path, {name: target for name, target in (common | elsewhere).items() if name not in explained})


def table(cls: type[msgspec.Struct], package: ModuleType, empty: str) -> Iterator[str]:
    """The fields of a struct, and the rules between them."""
    docs = field_docs(cls)
    if not fields_of(cls):
        yield empty
        return
    yield '<div class="stacked" markdown>\n'
    yield "| field | type | rules | meaning |"
    yield "|-|-|-|-|"
    for spec in fields_of(cls):
        facts = ", ".join(value_text(spec, request=issubclass(cls, Wire)))
        place = anchor(f"{package.__name__}.{cls.__name__}.{spec.attribute}")
        yield f"| {place}`{spec.wire}` | {field_type(spec, package)} | {cell(facts)} | {cell(docs[spec.attribute])} |"
    yield "\n</div>\n"
    if any("rules" in vars(base) for base in cls.__mro__):
        yield anchor(f"{package.__name__}.{cls.__name__}.rules") + "\n"
    if rules := rules_of(cls):
        yield from (f"- {markdown(re.sub('^Advice:', '**Advice:**', rule))}" for rule in rules)
        yield ""


def field_type(spec: FieldSpec, package: ModuleType) -> str:
    """The type of a field, with a link to a struct."""
    struct: type | None = spec.struct or (spec.item.struct if spec.item else None)
    return type_text(spec) if struct is None else type_text(spec).replace(struct.__name__, link(struct, package))


def link(cls: type, package: ModuleType) -> str:
    """To a struct of the page."""
    return f"[{cls.__name__}](#{package.__name__}.{cls.__name__})"


def markdown(text: str) -> str:
    """A docstring as Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda match: f"`{match[1].rpartition('.')[2]}`", text)
    return text.replace("``", "`")


def cell(text: str) -> str:
    """The same for a table."""
    return " ".join(markdown(text).split()).replace("|", r"\|")
