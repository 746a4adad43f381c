"""The reference: a page for each public module, the codes, the command line, and the index of all names.

Every public name is documented once, under the shortest path from which it can be imported. Where it has others, and where a
class inherits what another one documents, there is an anchor with a link.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from typing import Any, is_typeddict

from zego_aigc import pytest_plugin
from zego_aigc.cli._parser import parser as command_line
from zego_aigc.schema.actions import Result
from zego_aigc.schema.codes import EXCEPTION_CODES, RETURN_CODES, error_class

MODULES = {
    "zego_aigc": ("client", "What most programs import: the client, its options, limits and the registry."),
    "zego_aigc.errors": ("errors", "Every error that the library raises. [Errors](../errors.md) says what to do about each."),
    "zego_aigc.aiagent": ("aiagent", "AI Agent: requests and results."),
    "zego_aigc.digitalhuman": ("digitalhuman", "Digital Human: requests and results."),
    "zego_aigc.handles": ("handles", "What `async with client.agent(...)`, `client.start()` and `client.attach()` give."),
    "zego_aigc.callbacks": ("callbacks", "What the services report, verified and typed. See [Callbacks](../callbacks.md)."),
    "zego_aigc.llm": ("llm", "The endpoint that an agent's `LLM.Url` points to. See [A model of your own](../own-model.md)."),
    "zego_aigc.provisioning": ("provisioning", "Fleets. See [Provisioning](../provisioning.md)."),
    "zego_aigc.redis": (
        "redis",
        "Limits, quotas and registry for many processes. Extra: `redis`. See [Redis](../redis.md).",
    ),
    "zego_aigc.sandbox": ("sandbox", "Both services on your machine. See [Test your app](../testing.md)."),
    "zego_aigc.tokens": (
        "tokens",
        "Login tokens for SDKs. Extra: `token`. See [Login tokens](../tokens.md).",
    ),
    "zego_aigc.otel": ("otel", "Spans and metrics. Extra: `otel`. See [Observe](../observe.md)."),
}
"""Public modules: their page, and what it is about."""

BY_ACTION = {"zego_aigc.aiagent", "zego_aigc.digitalhuman"}
"""Modules whose pages ``generate_actions.py`` writes."""

RESULT = "zego_aigc.schema.actions.Result"
"""What all results inherit from: it is explained, but not for import."""


def reference_pages() -> Iterator[tuple[str, str]]:
    """Addresses and texts."""
    for module, (page, about) in MODULES.items():
        if module not in BY_ACTION:
            tail = [f"::: {RESULT}\n"] if module == "zego_aigc" else []
            yield f"reference/{page}.md", "\n".join((f"# {module} {{#{module}}}\n", about, "", *names(module), *tail))
    yield "reference/index.md", "\n".join(index())
    yield "reference/codes.md", "\n".join(codes())
    yield "reference/fixtures.md", "\n".join(fixtures())
    yield "reference/command-line.md", "\n".join(commands())


# --- names -------------------------------------------------------------------------------------------------------


@cache
def exported(module: str) -> list[str]:
    """A module's public names, sorted as in an index, without the modules among them."""
    names = import_module(module).__all__
    return sorted((name for name in names if f"{module}.{name}" not in MODULES), key=lambda name: name.strip("_").lower())


@cache
def home(module: str, name: str) -> str:
    """The module on whose page a name is: where two hand on the same thing, the more special one."""
    value = getattr(import_module(module), name)
    return [each for each in MODULES if name in exported(each) and getattr(import_module(each), name) is value][-1]


@cache
def path_of(name: str, module: str) -> str:
    """The shortest path from which a name can be imported."""
    return f"zego_aigc.{name}" if name in import_module("zego_aigc").__all__ else f"{module}.{name}"


@cache
def documented() -> dict[int, str]:
    """Every public object by its identity, with its path."""
    found = {id(getattr(import_module(module), name)): path_of(name, module) for module in MODULES for name in exported(module)}
    return {**found, id(Result): RESULT}


@cache
def class_paths() -> dict[str, str]:
    """Public classes by their name alone, where only one has it."""
    found: dict[str, set[str]] = {}
    for module in MODULES:
        for name in exported(module):
            if inspect.isclass(getattr(import_module(module), name)):
                found.setdefault(name, set()).add(path_of(name, module))
    return {name: paths.pop() for name, paths in found.items() if len(paths) == 1}


def names(module: str) -> Iterator[str]:
    """A module's names, each from its docstring."""
    for name in exported(module):
        if home(module, name) == module:
            yield from entry(path_of(name, module), f"{module}.{name}", getattr(import_module(module), name))


def entry(path: str, other: str, value: Any) -> Iterator[str]:
    """One name: anchors for its other path, what it is, and what it inherits."""
    own, elsewhere = members(value) if inspect.isclass(value) else ([], {})
    if other != path:
        yield "".join(anchor(name) for name in (other, *(f"{other}.{member}" for member in (*own, *elsewhere)))) + "\n"
    yield f"::: {path}"
    hidden = inherited_here(value, own)
    if hidden:
        yield f"    options:\n      inherited_members: [{', '.join(hidden)}]"
    yield ""
    yield from inherited(path, elsewhere)


def members(cls: type[Any]) -> tuple[list[str], dict[str, str]]:
    """The public members of a class: its own, and those of a base that has an entry itself, with their paths there."""
    own: list[str] = []
    elsewhere: dict[str, str] = {}
    for base in bases(cls):
        if not base.__module__.startswith("zego_aigc"):
            continue
        public = [name for name in dict.fromkeys((*vars(base), *declared(base))) if not name.startswith("_")]
        for name in public:
            if name in own or name in elsewhere:
                continue
            if base is cls or id(base) not in documented():
                own.append(name)
            else:
                elsewhere[name] = f"{documented()[id(base)]}.{name}"
    return own, elsewhere


def bases(cls: type[Any]) -> tuple[type[Any], ...]:
    """A class and those that it inherits from. A TypedDict does not know them everywhere: they are those that it contains."""
    if not is_typeddict(cls):
        return cls.__mro__
    module = public_module(cls)
    exports = (getattr(import_module(module), name) for name in exported(module))
    return (
        cls,
        *(other for other in exports if is_typeddict(other) and other.__annotations__.keys() < cls.__annotations__.keys()),
    )


def public_module(cls: type[Any]) -> str:
    """The public module that a class comes from."""
    return next(module for module in reversed(MODULES) if cls.__module__.startswith(module))


def declared(cls: type[Any]) -> list[str]:
    """The names to which a class itself gives a type."""
    inherited = {name for base in bases(cls)[1:] for name in base.__annotations__} if is_typeddict(cls) else set[str]()
    return [name for name in inspect.get_annotations(cls) if name not in inherited]


def inherited_here(value: Any, own: Iterable[str]) -> list[str]:
    """What a class inherits from a base that has no entry: it is explained with the class."""
    if not inspect.isclass(value):
        return []
    here = {*vars(value), *declared(value)}
    return [name for name in own if name not in here]


def inherited(path: str, elsewhere: dict[str, str]) -> Iterator[str]:
    """What a class inherits from one that has an entry: where to read of it."""
    if elsewhere:
        links = (f"{anchor(f'{path}.{name}')}[`{name}`][{target}]" for name, target in elsewhere.items())
        yield f"In common with others: {', '.join(links)}.\n"


def anchor(name: str) -> str:
    """A place to which a link can lead."""
    return f'<a id="{name}"></a>'


def index() -> Iterator[str]:
    """Every public name, by module."""
    yield "# Reference\n"
    yield "Every public name, from its docstring. What is not listed here or begins with an underscore may change any time.\n"
    yield "| page | what it holds |"
    yield "|-|-|"
    for module, (page, about) in MODULES.items():
        yield f"| [`{module}`]({page}.md) | {about} |"
    yield "| [Codes](codes.md) | every code of the services, with what to do about it |"
    yield "| [Command line](command-line.md) | `zego-aigc` and its commands |"
    yield "| [Fixtures](fixtures.md) | for pytest |"
    yield "| [Environment](../environment.md) | the variables that the client and the command line read |"
    yield ""
    for module in MODULES:
        yield f"## {module}\n"
        yield " · ".join(f"[`{name}`][{path_of(name, module)}]" for name in exported(module)) + "\n"


# --- codes -------------------------------------------------------------------------------------------------------

SERVICES = {"common": "Both services", "aiagent": "AI Agent", "digitalhuman": "Digital Human"}
DOMAINS = {"agent": "agent", "im": "chat", "rtc": "RTC", "asr": "speech recognition", "llm": "language model", "tts": "speech"}


def codes() -> Iterator[str]:
    """Return codes and exception codes."""
    yield "# Codes\n"
    yield "The vendor gives its codes no names. These are the library's: what `ApiError.name` and `ExceptionEvent.name` hold.\n"
    yield "## Return codes\n"
    yield "The `Code` of an answer, and the `ApiError` that it becomes. *Passes*: the same call may succeed a moment later;"
    yield "the client tries it again by itself where that does no harm.\n"
    for service, title in SERVICES.items():
        yield f"### {title}\n"
        yield '<div class="stacked" markdown>\n'
        yield "| code | name | error | passes | what to do |"
        yield "|-|-|-|-|-|"
        for code in RETURN_CODES.values():
            if code.service == service and code.code:
                error = error_class(code.code).__name__
                yield (
                    f"| {anchor(f'code-{code.code}')}`{code.code}` | {code.name} | [`{error}`][zego_aigc.{error}] "
                    f"| {'passes' if code.retryable else ''} | {code.advice} |"
                )
        yield "\n</div>\n"
    yield "## Exception codes\n"
    yield "The `Code` of an [`ExceptionEvent`][zego_aigc.callbacks.ExceptionEvent], and of an"
    yield "[`AgentInstanceDeleted`][zego_aigc.callbacks.AgentInstanceDeleted] that the service itself decided on (*ends*).\n"
    yield '<div class="stacked" markdown>\n'
    yield "| code | name | where | ends | what to do |"
    yield "|-|-|-|-|-|"
    for event in EXCEPTION_CODES.values():
        ends = "ends" if event.ends_instance else ""
        place = anchor(f"code-{event.code}")
        yield f"| {place}`{event.code}` | {event.name} | {DOMAINS[event.domain]} | {ends} | {event.advice} |"
    yield "\n</div>\n"


# --- pytest and the command line ---------------------------------------------------------------------------------


def fixtures() -> Iterator[str]:
    """What the pytest plugin offers."""
    yield "# Fixtures\n"
    yield f"{prose(inspect.getdoc(pytest_plugin) or '')}\n"
    for name in (name for name in vars(pytest_plugin) if name.startswith("zego_")):
        yield f"## {name} {{#{name}}}\n"
        yield f"{prose(inspect.getdoc(getattr(pytest_plugin, name)) or '')}\n"


def commands() -> Iterator[str]:
    """Every command, from the parser."""
    program = command_line()
    yield "# Command line\n"
    yield from command(program)
    for sub in subcommands(program):
        yield f"## {sub.prog} {{#{slug(sub.prog)}}}\n"
        yield from command(sub)
        for each in subcommands(sub):
            yield f"### {each.prog} {{#{slug(each.prog)}}}\n"
            yield from command(each)


def subcommands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The commands under one."""
    return [command for each in arguments(parser) if is_group(each) for command in dict[str, Any](each.choices or {}).values()]


def is_group(argument: argparse.Action) -> bool:
    """Whether what is given there is a command."""
    return isinstance(argument.choices, dict)


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a parser takes. argparse has no public way to be read."""
    found: list[argparse.Action] = vars(parser)["_actions"]
    return found


def command(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What a command does, how it is called, and its options."""
    yield f"{escaped(parser.description or '')}\n"
    usage = parser.format_usage().removeprefix("usage: ")
    yield f"```text\n{usage.strip()}\n```\n"
    options = [each for each in arguments(parser) if not is_group(each)]
    yield '<div class="stacked" markdown>\n'
    yield "| argument | meaning |"
    yield "|-|-|"
    yield from (row(parser, each) for each in options)
    yield "\n</div>\n"
    if subs := subcommands(parser):
        yield "| command | what it does |"
        yield "|-|-|"
        yield from (f"| [`{sub.prog}`](#{slug(sub.prog)}) | {escaped(first_sentence(sub))} |" for sub in subs)
        yield ""
    yield f"{epilog(parser.epilog or '')}\n"


def first_sentence(parser: argparse.ArgumentParser) -> str:
    """What a command does, in short."""
    return " ".join((parser.description or "").split()).partition(". ")[0]


def row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An option, or what stands in its place."""
    names = action.option_strings or [str(action.metavar or action.dest.upper())]
    value = f" {action.metavar or choices(action)}" if action.option_strings and action.nargs != 0 else ""
    known = action.option_strings or [action.dest.upper()]
    anchors = "".join(anchor(slug(f"{parser.prog} {name}")) for name in known)
    return f"| {anchors}{', '.join(f'`{name}{value}`' for name in names)} | {escaped(action.help or '')} |"


def choices(action: argparse.Action) -> str:
    """What may be given."""
    return "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()


def epilog(text: str) -> str:
    """The examples of a command as a block, and what follows as text."""
    found = re.match(r"examples?:\n((?:  .*\n)+)", text)
    return escaped(text) if found is None else f"```sh\n{inspect.cleandoc(found[1])}\n```\n\n{escaped(text[found.end() :])}"


def slug(name: str) -> str:
    """An anchor for what the command line calls something."""
    return name.replace(" ", "-")


def prose(text: str) -> str:
    """A docstring as Markdown."""
    return re.sub(r":\w+:`~?([^`]+)`", lambda role: f"[`{role[1].rpartition('.')[2]}`][{role[1]}]", text)


def escaped(text: str) -> str:
    """Text of the command line as Markdown, in a table too."""
    text = re.sub(r"%\((\w+)\)s", r"\1", text).replace("%%", "%")
    return re.sub(r"([|<*_])", r"\\\1", " ".join(text.split()))
