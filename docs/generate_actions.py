"""Write ``docs/actions.md``, the index of all Actions, from the structs: ``python docs/generate_actions.py``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from zego_aigc import aiagent, digitalhuman
from zego_aigc.schema.actions import ACTIONS, Action, Wire
from zego_aigc.schema.describe import lost_answer, rules_of, service_name, type_text, value_text
from zego_aigc.schema.fields import FieldSpec, field_docs, fields_of

TARGET = Path(__file__).parent / "actions.md"

MODULES = ["_agents", "_instances", "_control", "_assets", "_streams", "_drives"]

HEAD = """\
# Actions

All Actions of both services with their fields, bounds and rules. This page is written by `docs/generate_actions.py` from the
structs themselves. On the command line, `zego-aigc describe ACTION` shows the same of one Action.

Fields bear the vendor's names here. In Python they are written in snake case: `RTC.RoomId` is `rtc.room_id`,
`LLMMetaInfo` is `llm_meta_info`. A field that is not set is not sent. **Advice** is given as a `VendorAdvice` warning and the
request is sent; every other rule that is broken raises `InvalidRequest`, and nothing is sent. Fields newer than the library go
into `extra={"NewField": 1}`, at any level.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield HEAD
    for package in (aiagent, digitalhuman):
        yield from _overview(package)
    for package in (aiagent, digitalhuman):
        for cls in _actions(package):
            yield from _action(cls, package)
        yield f"## Objects in `{package.__name__}`\n"
        for struct in _objects(package):
            yield from _object(struct, package)


def _actions(package: ModuleType) -> list[type[Action[Any]]]:
    """A package's Actions in the order in which one meets them: what makes something comes first."""
    actions = [cls for cls in ACTIONS.values() if vars(package).get(cls.__name__) is cls]
    return sorted(actions, key=lambda cls: (MODULES.index(cls.__module__.rpartition(".")[2]), cls.lifecycle is None))


def _objects(package: ModuleType) -> list[type[msgspec.Struct]]:
    """The structs that stand inside requests and results, by name."""
    exported = (vars(package)[name] for name in sorted(package.__all__))
    structs = [cls for cls in exported if isinstance(cls, type) and issubclass(cls, msgspec.Struct)]
    inner = {spec.struct or (spec.item and spec.item.struct) for cls in structs for spec in fields_of(cls)}
    shown = {cls.result for cls in _actions(package)} - inner
    return [cls for cls in structs if not issubclass(cls, Action) and cls not in shown]


def _overview(package: ModuleType) -> Iterator[str]:
    yield f"## `{package.__name__}`\n"
    yield "| Action | what it does |"
    yield "|-|-|"
    for cls in _actions(package):
        yield f"| [{cls.__name__}](#{_anchor(cls, package)}) | {_cell((inspect.getdoc(cls) or '').splitlines()[0])} |"
    yield ""


def _action(cls: type[Action[Any]], package: ModuleType) -> Iterator[str]:
    yield f'<a id="{_anchor(cls, package)}"></a>\n'
    yield f"### {cls.__name__}\n"
    yield f"{_markdown(inspect.getdoc(cls) or '')}\n"
    yield f"[The vendor's page]({cls.page}) · {service_name(cls)} · after a lost answer {lost_answer(cls)}.\n"
    yield from _table(cls, package, "It takes no fields.")
    if cls.result is None:
        yield "It returns nothing.\n"
    else:
        yield f"It returns `{cls.result.__name__}`: {_markdown(_first_sentence(cls.result))}\n"
        yield from _table(cls.result, package, "")


def _object(cls: type[msgspec.Struct], package: ModuleType) -> Iterator[str]:
    yield f'<a id="{_anchor(cls, package)}"></a>\n'
    yield f"### {cls.__name__}\n"
    yield f"{_markdown(inspect.getdoc(cls) or '')}\n"
    yield from _table(cls, package, "It has no fields.")


def _table(cls: type[msgspec.Struct], package: ModuleType, otherwise: str) -> Iterator[str]:
    docs = field_docs(cls)
    if not fields_of(cls):
        yield f"{otherwise}\n"
        return
    yield "| field | type | rules | meaning |"
    yield "|-|-|-|-|"
    for spec in fields_of(cls):
        facts = ", ".join(value_text(spec, request=issubclass(cls, Wire)))
        yield f"| `{spec.wire}` | {_type(spec, package)} | {_cell(facts)} | {_cell(docs[spec.attribute])} |"
    yield ""
    if rules := rules_of(cls):
        yield from (f"- {_markdown(re.sub('^Advice:', '**Advice:**', rule))}" for rule in rules)
        yield ""


def _type(spec: FieldSpec, package: ModuleType) -> str:
    struct: type | None = spec.struct or (spec.item.struct if spec.item else None)
    if struct is None:
        return type_text(spec)
    return type_text(spec).replace(struct.__name__, f"[{struct.__name__}](#{_anchor(struct, package)})")


def _anchor(cls: type, package: ModuleType) -> str:
    return f"{package.__name__.rpartition('.')[2]}-{cls.__name__}".lower()


def _first_sentence(cls: type) -> str:
    return re.split(r"(?<=\.)\s", inspect.getdoc(cls) or "")[0]


def _markdown(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", lambda match: f"`{match[1].rpartition('.')[2]}`", text)
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return " ".join(_markdown(text).split()).replace("|", r"\|")


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
