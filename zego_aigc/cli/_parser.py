"""The command line's words: one parser, with a subcommand for each thing to do."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TypeAlias

from zego_aigc._version import __version__

__all__ = ["parse", "parser"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

TARGET = """
Whom to call is taken from the environment: ZEGO_APP_ID and ZEGO_SERVER_SECRET, and where they are set ZEGO_REGION,
ZEGO_AIAGENT_URL and ZEGO_DIGITALHUMAN_URL.
"""

STATUS = """
Exit status: 0 all done; 1 something failed; 2 wrong usage, or a fleet or journal that cannot be used (nothing was sent);
3 outcomes are left unknown or pending.
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What is asked for; ``options.run(options)`` does it.

    Raises:
        SystemExit: with 2 for wrong usage, 0 after printing help.
    """
    return parser().parse_args(arguments)


def parser() -> argparse.ArgumentParser:
    """The parser, with all commands and their options."""
    parser = argparse.ArgumentParser(
        prog="zego-aigc",
        description="Call ZEGOCLOUD's AI Agent and Digital Human services, provision fleets, and run a local sandbox of both.",
        epilog=TARGET + STATUS,
    )
    parser.add_argument("--version", action="version", version=f"zego-aigc {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _provision(commands)
    _teardown(commands)
    _status(commands)
    _sandbox(commands)
    _call(commands)
    _describe(commands)
    _token(commands)
    return parser


def _command(commands: Commands, name: str, module: str, summary: str, description: str = "") -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=summary, description=description or f"{summary[0].upper()}{summary[1:]}.", epilog=STATUS
    )

    def run(options: argparse.Namespace) -> int:
        do: Callable[[argparse.Namespace], int] = import_module(f"zego_aigc.cli.{module}").run
        return do(options)

    command.set_defaults(run=run)
    return command


def _provision(commands: Commands) -> None:
    command = _command(
        commands,
        "provision",
        "_provision",
        "make everything that a fleet file names, once",
        "Make everything that a fleet file names, once, as fast as the service's limits allow. The same command again goes on "
        "where the last one ended, however it ended. Ctrl-C finishes what is in flight and stops; a second one stops at once.",
    )
    command.add_argument("fleet", metavar="FLEET", help="a .toml file, or JSON Lines under any other suffix")
    command.add_argument("--journal", required=True, metavar="FILE", help="notes what was done; made if there is none")
    target = command.add_argument_group("target", TARGET)
    target.add_argument("--sandbox", action="store_true", help="use a sandbox that lives as long as this command")
    target.add_argument(
        "--quota",
        type=_count,
        metavar="N",
        help="how many instances of a kind the account may hold (with --sandbox: 10 unless given)",
    )
    rules = command.add_argument_group("rules")
    rules.add_argument(
        "--if-exists", choices=("fail", "keep", "update"), default="fail", help="for agents that are registered already"
    )
    rules.add_argument("--on-quota", choices=("wait", "fail"), default="wait", help="when the account is full")
    rules.add_argument(
        "--quota-wait", type=_seconds, default=600.0, metavar="SECONDS", help="how long to wait without any progress (600)"
    )
    rules.add_argument(
        "--on-unknown",
        choices=("report", "wait"),
        default="report",
        help="instances that may have been made: report them, or, where no user can be in the rooms, wait out MaxIdleTime and "
        "make fresh ones",
    )
    rules.add_argument("--until", choices=("created", "streaming"), default="created", help="when a stream task counts as done")
    rules.add_argument("--rollback", action="store_true", help="remove what this run made unless everything is done")
    rules.add_argument("--extend", action="store_true", help="add a fleet to a journal that knows none of its entries")
    _output(command)


def _teardown(commands: Commands) -> None:
    command = _command(
        commands,
        "teardown",
        "_teardown",
        "remove what a journal made, and nothing else",
        "Remove what a journal made, and nothing else: instances and stream tasks first, then agents. " + TARGET,
    )
    command.add_argument("journal", metavar="JOURNAL")
    _output(command)


def _status(commands: Commands) -> None:
    command = _command(
        commands, "status", "_status", "say what a journal knows", "Say what a journal knows, also while a run goes on."
    )
    command.add_argument("journal", metavar="JOURNAL")
    command.add_argument("--live", action="store_true", help="ask the service what is still there")
    command.add_argument("--json", action="store_true", help="print JSON lines")


def _sandbox(commands: Commands) -> None:
    command = _command(
        commands,
        "sandbox",
        "_sandbox",
        "run a local stand-in of both services, or send commands to one that runs",
        "Run a local stand-in of both services until Ctrl-C. The first line is READY and its address; after it come the "
        "variables that lead a client to it. The account is that of ZEGO_APP_ID and ZEGO_SERVER_SECRET, or one of its own. "
        "With trigger, speak, advance or fault: have one that runs do something. Which one is taken from ZEGO_SANDBOX_URL and "
        "ZEGO_SANDBOX_TOKEN.",
    )
    command.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="where to listen (127.0.0.1); elsewhere its page needs a token"
    )
    command.add_argument("--port", type=_port, default=0, metavar="N", help="which port; a free one unless given")
    command.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a host name under which it may be called, such as a service's name in a compose file; may be repeated",
    )
    command.add_argument("--quota", type=_count, default=10, metavar="N", help="instances of a kind that may live at once (10)")
    command.add_argument(
        "--callback-url", type=_web_address, metavar="URL", help="where callbacks go; the sandbox's page shows them in any case"
    )
    command.add_argument("--tls", action="store_true", help="give drives wss:// addresses, with a self-made certificate")
    command.add_argument("--llm", action="store_true", help="call an LLM.Url on other machines, too; on this one it always is")
    command.add_argument("--allow-remote-callbacks", action="store_true", help="let callbacks leave this machine")
    command.add_argument(
        "--callback-secret-from-env",
        action="store_true",
        help="sign callbacks with ZEGO_CALLBACK_SECRET instead of a secret of the sandbox's own, which is printed",
    )
    command.set_defaults(command=None)
    actions = command.add_subparsers(title="commands to a sandbox that runs", metavar="")
    trigger = _sandbox_command(actions, "trigger", "send a callback now, with what is not given filled in")
    trigger.add_argument("event", metavar="EVENT", help="such as ASRResult; or task, drive")
    trigger.add_argument("data", metavar="KEY=VALUE", nargs="*", help="what Data is to hold, such as Text=Hello Round=3")
    trigger.add_argument("--about", metavar="ID", help="the instance or task (the newest)")
    speak = _sandbox_command(actions, "speak", "let the user of an instance say something")
    speak.add_argument("text", metavar="TEXT")
    speak.add_argument("--about", metavar="ID", help="the instance (the newest)")
    speak.add_argument("--seconds", type=_seconds, default=1.5, metavar="SECONDS", help="for how long (1.5)")
    advance = _sandbox_command(actions, "advance", "move its clock forward; what falls due happens")
    advance.add_argument("seconds", type=_seconds, metavar="SECONDS")
    fault = _sandbox_command(actions, "fault", "make calls go wrong, or stop it with `fault clear`")
    fault.add_argument("fault", metavar="FAULT", help="such as cut_after_work, refuse, latency; or clear")
    fault.add_argument("arguments", metavar="KEY=VALUE", nargs="*", help="the fault's arguments, such as code=410000001")
    fault.add_argument("--on", action="append", default=[], metavar="ACTION", help="on which Actions (all); may be repeated")
    fault.add_argument("--times", type=_count, metavar="N", help="at most so often")
    fault.add_argument("--after", type=_count, metavar="N", help="once so many calls have passed")
    fault.add_argument("--every", type=_count, metavar="N", help="every Nth call")
    fault.add_argument("--chance", type=float, metavar="P", help="with a probability of 0 to 1")


def _sandbox_command(actions: Commands, name: str, summary: str) -> argparse.ArgumentParser:
    command = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=STATUS)
    command.add_argument("--url", metavar="URL", help="the sandbox's address (ZEGO_SANDBOX_URL)")
    command.add_argument("--token", metavar="TOKEN", help="where it wants one (ZEGO_SANDBOX_TOKEN)")
    command.set_defaults(command=name)
    return command


def _call(commands: Commands) -> None:
    command = _command(
        commands,
        "call",
        "_call",
        "send one Action and print its answer's Data",
        "Send one Action and print its answer's Data as JSON. " + TARGET,
    )
    command.add_argument("action", metavar="ACTION", help="such as QueryAgents")
    command.add_argument(
        "body", metavar="BODY", nargs="?", default="{}", help="a JSON object, @FILE, or - for standard input ({})"
    )
    command.add_argument("--timeout", type=_seconds, default=30.0, metavar="SECONDS")
    command.add_argument("--secrets", action="store_true", help="print credentials in the answer, which are masked otherwise")
    command.add_argument("--service", choices=("aiagent", "digitalhuman"), help="for an Action that this version does not know")


def _describe(commands: Commands) -> None:
    command = _command(commands, "describe", "_describe", "print an Action's fields and rules")
    command.add_argument("action", metavar="ACTION", nargs="?", help="all of them are listed without one")


def _token(commands: Commands) -> None:
    command = _command(
        commands,
        "token",
        "_token",
        "make a login token for a browser or mobile SDK",
        "Make a login token (token04) for a browser or mobile SDK, from ZEGO_APP_ID and ZEGO_SERVER_SECRET.",
    )
    command.add_argument("user", metavar="USER_ID")
    command.add_argument("--ttl", type=int, default=3600, metavar="SECONDS", help="for how long it is valid (3600)")
    command.add_argument("--room", metavar="ROOM_ID", help="allow this room only")
    command.add_argument("--no-publish", action="store_true", help="with --room: allow listening only")


def _output(command: argparse.ArgumentParser) -> None:
    output = command.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON lines")
    output.add_argument("--plain", action="store_true", help="print plain lines on a terminal, too")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number, 0 or more, not {text!r}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or not int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, not {text!r}")
    return int(text)


def _web_address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("must begin with http:// or https://")
    return text


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return number
