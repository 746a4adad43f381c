"""The command line's words: one parser, with a subcommand for each thing to do."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn, TypeAlias

from zego_aigc._version import __version__
from zego_aigc.cli import _arguments as given
from zego_aigc.schema.naming import did_you_mean

__all__ = ["parse", "parser"]

Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

STATUS = (
    "Exit status: 0 all done; 1 something failed; 2 wrong usage, or a fleet or journal that cannot be used (nothing was sent); "
    "3 outcomes are left unknown or pending."
)


class _Parser(argparse.ArgumentParser):
    """Answers a misspelt word with the closest."""

    def error(self, message: str) -> NoReturn:
        choice = re.match(r"argument [^:]+: invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice is not None:
            known = [word.strip(" '") for word in choice[2].split(",")]
            message = (
                f"{message.split(' (choose', maxsplit=1)[0]}{did_you_mean(choice[1], known)} (choose from {', '.join(known)})"
            )
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown is not None:
            message += did_you_mean(unknown[1], self._option_string_actions)
        super().error(message)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What is asked for; ``options.run(options)`` does it.

    Raises:
        SystemExit: with 2 for wrong usage, 0 after printing help.
    """
    program, commands = _build()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(program)
    if not arguments:
        program.print_help(sys.stderr)
        program.exit(2)
    word = next((argument for argument in arguments if not argument.startswith("-")), None)
    if word is not None and word not in commands.choices:
        program.error(
            f"{word!r} is not a command{did_you_mean(word, commands.choices) or ';'} there are {', '.join(commands.choices)}"
        )
    options, unknown = program.parse_known_args(arguments)
    if unknown:
        commands.choices[word or ""].error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def parser() -> argparse.ArgumentParser:
    """The parser, with all commands and their options."""
    return _build()[0]


def _build() -> tuple[_Parser, Commands]:
    program = _Parser(
        prog="zego-aigc",
        description=given.filled(
            "Call ZEGOCLOUD's AI Agent and Digital Human services, provision fleets, and run a local sandbox of both."
        ),
        epilog=_examples("zego-aigc init", "zego-aigc provision fleet.toml --journal try.journal --sandbox")
        + given.filled(STATUS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    program.add_argument("--version", action="version", version=f"zego-aigc {__version__}")
    commands = program.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in _COMMANDS:
        add(commands)
    return program, commands


def _command(
    commands: Commands, name: str, summary: str, description: str = "", *, examples: Sequence[str], status: str = STATUS
) -> _Parser:
    """A subcommand, which is run by the module of its name."""
    command = commands.add_parser(
        name,
        help=summary,
        description=given.filled(description or f"{summary[0].upper()}{summary[1:]}."),
        epilog=_examples(*examples) + given.filled(status),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def run(options: argparse.Namespace) -> int:
        do: Callable[[argparse.Namespace], int] = import_module(f"zego_aigc.cli._{name}").run
        return do(options)

    command.set_defaults(run=run, env_file=None, json=False)
    return command


def _examples(*lines: str) -> str:
    return f"example{'s' if len(lines) > 1 else ''}:\n" + "".join(f"  {line}\n" for line in lines) + "\n"


# --- the commands ------------------------------------------------------------------------------------------------


def _init(commands: Commands) -> None:
    command = _command(
        commands,
        "init",
        "write a starter fleet",
        "Write a starter fleet, with comments. It is valid as it stands, and can be tried with provision --sandbox.",
        examples=["zego-aigc init", "zego-aigc init event.toml"],
    )
    command.add_argument("file", metavar="FILE", nargs="?", default="fleet.toml", help="where to; - prints it (fleet.toml)")


def _provision(commands: Commands) -> None:
    command = _command(
        commands,
        "provision",
        "make everything that a fleet file names, once",
        "Make everything that a fleet file names, once, as fast as the service's limits allow. The same command again goes on "
        "where the last one ended, however it ended, except with --sandbox. Ctrl-C finishes what is in flight and stops; a "
        "second one stops at once.",
        examples=[
            "zego-aigc provision fleet.toml --journal fleet.journal",
            "zego-aigc provision fleet.toml --journal try.journal --sandbox",
            "generate | zego-aigc provision - --journal fleet.journal --json > outcomes.jsonl",
        ],
    )
    given.add_fleet(command)
    target = given.add_target(command)
    target.add_argument(
        "--sandbox",
        action="store_true",
        help="use a sandbox that ends with this command: each trial needs a journal of its own",
    )
    target.add_argument(
        "--quota",
        type=given.count,
        metavar="N",
        help="how many instances of a kind the account may hold (with --sandbox: 10 unless given)",
    )
    rules = given.add_rules(command)
    rules.add_argument("--rollback", action="store_true", help="remove what this run made unless everything is done")
    rules.add_argument("--refresh", action="store_true", help="ask what is still there, and recreate what has ended")
    given.add_changes(rules)
    given.add_output(command)


def _plan(commands: Commands) -> None:
    command = _command(
        commands,
        "plan",
        "print what provisioning would do, and do nothing",
        "Print what provisioning would do: what is to be made, what has changed, and what is no longer in the fleet. It "
        "needs no account, and so checks a fleet in CI, unless --live asks the service, too.",
        examples=[
            "zego-aigc plan fleet.toml --journal fleet.journal",
            "zego-aigc plan fleet.toml --journal fleet.journal --live",
        ],
        status="Exit status: 0 there is nothing to do; 4 there is; 2 wrong usage, or a fleet or journal that cannot be used; "
        "1 the service could not be asked.",
    )
    given.add_fleet(command)
    command.add_argument("--live", action="store_true", help="ask the service what is still there")
    command.add_argument("--extend", action="store_true", help="for a fleet that joins a journal of others")
    command.add_argument("--json", action="store_true", help="print JSON")
    given.add_target(command)


def _maintain(commands: Commands) -> None:
    command = _command(
        commands,
        "maintain",
        "keep a fleet alive until stopped",
        "Provision a fleet, and recreate what ends, until Ctrl-C. What has ended is found by asking, or by callbacks. What "
        "ends right after it was made is recreated after longer and longer pauses. It prints a line for each event. It may be "
        "killed at any moment; the same command goes on.",
        examples=[
            "zego-aigc maintain fleet.toml --journal fleet.journal",
            "zego-aigc maintain fleet.toml --journal fleet.journal --callbacks 0.0.0.0:8080 --interval 600",
        ],
        status="Exit status: 0 stopped with everything alive; 3 stopped otherwise; 1 the credentials are wrong; 2 wrong usage, "
        "or a fleet or journal that cannot be used.",
    )
    given.add_fleet(command)
    command.add_argument(
        "--interval", type=given.seconds, default=60.0, metavar="SECONDS", help="how often everything is asked about (60)"
    )
    command.add_argument(
        "--callbacks",
        type=given.host_and_port,
        metavar="HOST:PORT",
        help="take callbacks here, signed with ZEGO_CALLBACK_SECRET: what has ended is recreated at once",
    )
    target = given.add_target(command)
    target.add_argument("--quota", type=given.count, metavar="N", help="how many instances of a kind the account may hold")
    rules = given.add_rules(command, quota_wait=30.0)
    given.add_changes(rules)
    command.add_argument("--json", action="store_true", help="print JSON lines")


def _resolve(commands: Commands) -> None:
    command = _command(
        commands,
        "resolve",
        "note what has become of an unknown entry",
        "Note in a journal what has become of an entry whose outcome is unknown: it lives, under this id, or nothing of it "
        "does.",
        examples=[
            "zego-aigc resolve fleet.journal CreateAgentInstance:booth-3 --id 1912124734317838336",
            "zego-aigc resolve fleet.journal CreateAgentInstance:booth-4 --gone",
        ],
    )
    command.add_argument("journal", metavar="JOURNAL")
    command.add_argument("key", metavar="KEY")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--id", metavar="ID", help="the AgentInstanceId, TaskId or AgentId, from a callback or the console")
    what.add_argument("--gone", action="store_true", help="nothing of it lives: the next run recreates it")


def _orphans(commands: Commands) -> None:
    command = _command(
        commands,
        "orphans",
        "list what lives at the service and stands in no journal",
        "List agents and stream tasks that live at the service and that none of these journals knows. The service lists no "
        "agent instances.",
        examples=["zego-aigc orphans fleet.journal other.journal", "zego-aigc orphans *.journal --stop"],
    )
    command.add_argument("journals", metavar="JOURNAL", nargs="*", help="of this account; without any, everything is listed")
    command.add_argument("--stop", action="store_true", help="end them, after a question")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--json", action="store_true", help="print JSON lines")
    given.add_target(command)


def _teardown(commands: Commands) -> None:
    command = _command(
        commands,
        "teardown",
        "remove what a journal made, and nothing else",
        "Remove what a journal made, and nothing else: instances and stream tasks first, then agents.",
        examples=["zego-aigc teardown fleet.journal", "zego-aigc teardown fleet.journal --only RegisterAgent:guide"],
    )
    command.add_argument("journal", metavar="JOURNAL")
    command.add_argument(
        "--only", nargs="+", action="extend", metavar="KEY", help="only what these entries made; the next run recreates it"
    )
    command.add_argument("--yes", action="store_true", help="do not ask first; it is asked on a terminal only")
    given.add_target(command)
    given.add_output(command)


def _status(commands: Commands) -> None:
    command = _command(
        commands,
        "status",
        "print what a journal knows",
        "Print what a journal knows, also while a run goes on.",
        examples=["zego-aigc status fleet.journal", "zego-aigc status fleet.journal --all --csv > fleet.csv"],
    )
    command.add_argument("journal", metavar="JOURNAL")
    command.add_argument("--all", action="store_true", help="list every entry with its ids, rooms and streams")
    command.add_argument("--live", action="store_true", help="ask the service what is still there")
    output = command.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON lines")
    output.add_argument("--csv", action="store_true", help="with --all: print a table for spreadsheets and programs")
    given.add_target(command)


def _sandbox(commands: Commands) -> None:
    command = _command(
        commands,
        "sandbox",
        "run a local stand-in of both services, or send commands to one that runs",
        "Run a local stand-in of both services until Ctrl-C. The first line is READY and its address; after it come the "
        "variables that lead a client to it. The account is that of ZEGO_APP_ID and ZEGO_SERVER_SECRET, or one of its own. "
        "The commands trigger, speak, advance and fault control a sandbox that runs: the one at ZEGO_SANDBOX_URL (and with "
        "ZEGO_SANDBOX_TOKEN, where it wants one).",
        examples=["zego-aigc sandbox --port 8080", "zego-aigc sandbox advance 120"],
    )
    command.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="where to listen (127.0.0.1); elsewhere its page needs a token"
    )
    command.add_argument("--port", type=given.port, default=0, metavar="N", help="which port; a free one unless given")
    command.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a host name under which it may be called, such as a service's name in a compose file; may be repeated",
    )
    command.add_argument(
        "--quota", type=given.count, default=10, metavar="N", help="instances of a kind that may live at once (10)"
    )
    command.add_argument(
        "--callback-url",
        type=given.web_address,
        metavar="URL",
        help="where callbacks go; the sandbox's page shows them in any case",
    )
    command.add_argument("--tls", action="store_true", help="speak TLS, too, on another port, with a self-made certificate")
    command.add_argument("--llm", action="store_true", help="call an LLM.Url on other machines, too; on this one it always is")
    command.add_argument("--allow-remote-callbacks", action="store_true", help="let callbacks leave this machine")
    command.add_argument(
        "--callback-secret-from-env",
        action="store_true",
        help="sign callbacks with ZEGO_CALLBACK_SECRET instead of a secret of the sandbox's own, which is printed",
    )
    given.add_account(command)
    command.set_defaults(command=None)
    actions = command.add_subparsers(title="commands to a sandbox that runs", metavar="")
    trigger = _sandbox_command(
        actions, "trigger", "send a callback now, with what is not given filled in", "ASRResult Text=Hello"
    )
    trigger.add_argument("event", metavar="EVENT", help="such as ASRResult; or task, drive")
    trigger.add_argument("data", metavar="KEY=VALUE", nargs="*", help="what Data is to hold, such as Text=Hello Round=3")
    trigger.add_argument("--about", metavar="ID", help="the instance or task (the newest)")
    speak = _sandbox_command(actions, "speak", "let the user of an instance say something", "'What is there to see?'")
    speak.add_argument("text", metavar="TEXT")
    speak.add_argument("--about", metavar="ID", help="the instance (the newest)")
    speak.add_argument("--seconds", type=given.seconds, default=1.5, metavar="SECONDS", help="for how long (1.5)")
    advance = _sandbox_command(actions, "advance", "move its clock forward; what falls due happens", "120")
    advance.add_argument("seconds", type=given.seconds, metavar="SECONDS")
    fault = _sandbox_command(
        actions, "fault", "make calls go wrong, or stop it with 'fault clear'", "refuse code=410000001 --times 3", "clear"
    )
    fault.add_argument("fault", metavar="FAULT", help="such as cut_after_work, refuse, latency; or clear")
    fault.add_argument("arguments", metavar="KEY=VALUE", nargs="*", help="the fault's arguments, such as code=410000001")
    fault.add_argument("--on", action="append", default=[], metavar="ACTION", help="on which Actions (all); may be repeated")
    fault.add_argument("--times", type=given.count, metavar="N", help="at most so often")
    fault.add_argument("--after", type=given.count, metavar="N", help="once so many calls have passed")
    fault.add_argument("--every", type=given.count, metavar="N", help="every Nth call")
    fault.add_argument("--chance", type=float, metavar="P", help="with a probability of 0 to 1")


def _sandbox_command(actions: Commands, name: str, summary: str, *examples: str) -> argparse.ArgumentParser:
    command = actions.add_parser(
        name,
        help=summary,
        description=given.filled(f"{summary[0].upper()}{summary[1:]}."),
        epilog=_examples(*(f"zego-aigc sandbox {name} {example}" for example in examples)) + given.filled(STATUS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--url", metavar="URL", help="the sandbox's address (ZEGO_SANDBOX_URL)")
    command.add_argument("--token", metavar="TOKEN", help="where it wants one (ZEGO_SANDBOX_TOKEN)")
    command.set_defaults(command=name)
    return command


def _call(commands: Commands) -> None:
    command = _command(
        commands,
        "call",
        "send one Action and print its answer's Data",
        "Send one Action and print its answer's Data as JSON; what is said about it goes to standard error.",
        examples=["zego-aigc call ListAgents", """zego-aigc call QueryAgents '{"AgentIds": ["guide"]}'"""],
    )
    command.add_argument("action", metavar="ACTION", help="such as QueryAgents")
    command.add_argument(
        "body", metavar="BODY", nargs="?", default="{}", help="a JSON object, @FILE, or - for standard input ({})"
    )
    command.add_argument("--timeout", type=given.seconds, default=30.0, metavar="SECONDS")
    command.add_argument("--secrets", action="store_true", help="print credentials in the answer, which are masked otherwise")
    command.add_argument("--service", choices=("aiagent", "digitalhuman"), help="for an Action that this version does not know")
    given.add_target(command)


def _describe(commands: Commands) -> None:
    command = _command(
        commands,
        "describe",
        "print an Action's fields and rules",
        examples=["zego-aigc describe CreateAgentInstance"],
        status="",
    )
    command.add_argument("action", metavar="ACTION", nargs="?", help="all of them are listed without one")


def _token(commands: Commands) -> None:
    command = _command(
        commands,
        "token",
        "make a login token for a browser or mobile SDK",
        "Make a login token (token04) for a browser or mobile SDK, from ZEGO_APP_ID and ZEGO_SERVER_SECRET.",
        examples=["zego-aigc token visitor-1 --room booth-1"],
    )
    command.add_argument("user", metavar="USER_ID")
    command.add_argument(
        "--ttl", type=given.whole_seconds, default=3600, metavar="SECONDS", help="for how long it is valid (3600)"
    )
    command.add_argument("--room", metavar="ROOM_ID", help="allow this room only")
    command.add_argument("--no-publish", action="store_true", help="with --room: allow listening only")
    given.add_account(command)


def _completion(commands: Commands) -> None:
    command = _command(
        commands,
        "completion",
        "print a script that completes commands in a shell",
        "Print a script that has a shell complete commands, options and file names of zego-aigc.",
        examples=['eval "$(zego-aigc completion bash)"', "zego-aigc completion fish | source"],
        status="",
    )
    command.add_argument("shell", choices=("bash", "zsh", "fish"))


_COMMANDS = (
    _init,
    _plan,
    _provision,
    _maintain,
    _status,
    _resolve,
    _teardown,
    _orphans,
    _sandbox,
    _call,
    _describe,
    _token,
    _completion,
)
