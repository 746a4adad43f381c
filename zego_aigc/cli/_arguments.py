"""Arguments that several commands share, and the kinds of values that they take."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from typing import TypeAlias

__all__ = [
    "add_account",
    "add_changes",
    "add_fleet",
    "add_output",
    "add_rules",
    "add_target",
    "count",
    "filled",
    "host_and_port",
    "port",
    "seconds",
    "web_address",
]

Group: TypeAlias = "argparse._ArgumentGroup"  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

ACCOUNT = (
    "The account is taken from the environment: ZEGO_APP_ID and ZEGO_SERVER_SECRET, and where they are set ZEGO_REGION, "
    "ZEGO_AIAGENT_URL and ZEGO_DIGITALHUMAN_URL."
)


def filled(text: str) -> str:
    """A paragraph of a help text, as wide as a terminal leaves room for."""
    return textwrap.fill(text, max(20, min(96, shutil.get_terminal_size((98, 24)).columns - 2)))


def add_account(command: argparse.ArgumentParser) -> Group:
    """The account, as the environment gives it."""
    group = command.add_argument_group("account", filled(ACCOUNT))
    group.add_argument(
        "--env-file", metavar="FILE", help="read the environment from a .env file, too; variables that are set already win"
    )
    return group


def add_target(command: argparse.ArgumentParser) -> Group:
    """The account, and the way to its services."""
    group = add_account(command)
    group.add_argument(
        "--proxy",
        type=_proxy,
        metavar="URL",
        help="an HTTP proxy to go through, or env for what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say (ZEGO_PROXY unless given)",
    )
    group.add_argument(
        "--redis",
        metavar="URL",
        help="keep the limits together with all who use this Redis, such as redis://host:6379/0 (ZEGO_REDIS_URL unless given)",
    )
    group.add_argument("--rate", type=_rate, metavar="N", help="calls of each Action a second that the account may make (10)")
    return group


def add_fleet(command: argparse.ArgumentParser) -> None:
    """A fleet and its journal."""
    command.add_argument("fleet", metavar="FLEET", help="a .toml file, any other for JSON Lines, or - for standard input")
    command.add_argument("--journal", required=True, metavar="FILE", help="notes what was done; made if there is none")


def add_changes(rules: Group) -> None:
    """What is done about changes of a fleet."""
    rules.add_argument("--update", action="store_true", help="send UpdateAgent for agents that have changed in the fleet")
    rules.add_argument("--prune", action="store_true", help="remove first what this journal made and the fleet names no more")


def add_rules(command: argparse.ArgumentParser, *, quota_wait: float = 600.0) -> Group:
    """How entries are made."""
    rules = command.add_argument_group("rules")
    rules.add_argument(
        "--if-exists", choices=("fail", "keep", "update"), default="fail", help="for agents that are registered already"
    )
    rules.add_argument("--on-quota", choices=("wait", "fail"), default="wait", help="when the account is full")
    rules.add_argument(
        "--quota-wait",
        type=seconds,
        default=quota_wait,
        metavar="SECONDS",
        help=f"how long to wait without any progress ({quota_wait:g})",
    )
    rules.add_argument(
        "--on-unknown",
        choices=("report", "wait"),
        default="report",
        help="instances that may have been made: report them, or, where no user can be in the rooms, wait out MaxIdleTime and "
        "make fresh ones",
    )
    rules.add_argument("--until", choices=("created", "streaming"), default="created", help="when a stream task counts as done")
    rules.add_argument("--extend", action="store_true", help="add a fleet to a journal that knows none of its entries")
    return rules


def add_output(command: argparse.ArgumentParser) -> None:
    """How progress is shown."""
    output = command.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON lines")
    output.add_argument("--plain", action="store_true", help="print plain lines on a terminal, too")


# --- kinds of values ---------------------------------------------------------------------------------------------


def count(text: str) -> int:
    """A number of things."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number, 0 or more, not {text!r}")
    return int(text)


def _rate(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number of calls a second, 1 or more, not {text!r}")
    return int(text)


def port(text: str) -> int:
    """A TCP port."""
    if not text.isdecimal() or not int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, not {text!r}")
    return int(text)


def host_and_port(text: str) -> tuple[str, int]:
    """``HOST:PORT``, ``:PORT`` or ``PORT``; ``[::1]:8080`` for IPv6."""
    host, _, number = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", port(number)


def web_address(text: str) -> str:
    """An HTTP URL."""
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("must begin with http:// or https://")
    return text


def _proxy(text: str) -> str:
    return text if text == "env" else web_address(text)


def whole_seconds(text: str) -> int:
    """A length of time."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of seconds, not {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """A length of time."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return number
