"""``zego-aigc call``."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (free-form JSON)
from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import msgspec

from zego_aigc.cli._environment import client_from_options
from zego_aigc.cli._output import print_error, print_line
from zego_aigc.errors import ConfigurationError, VendorAdvice
from zego_aigc.schema.actions import ACTIONS, Action, Repeat, Service
from zego_aigc.schema.naming import did_you_mean
from zego_aigc.schema.redaction import masked_wire
from zego_aigc.schema.validation import validate

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Send one Action and print what came back."""
    body = _body(options.body)
    if (cls := ACTIONS.get(options.action)) is not None:
        _advise(cls, body)
    elif options.service is None:
        raise ConfigurationError(
            f"{options.action} is not an Action that this version knows{did_you_mean(options.action, ACTIONS)}; "
            "for a newer one, say with --service which service answers it"
        )
    logging.getLogger("zego_aigc").addHandler(logging.NullHandler())  # what fails is printed once, by the command
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VendorAdvice)
        data = asyncio.run(_call(options, body))
    if not options.secrets:
        known = ACTIONS.get(options.action)
        data = masked_wire(known.result if known is not None else None, data)
    print_line(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())
    return 0


def _advise(cls: type[Action[Any]], body: dict[str, Any]) -> None:
    """Say what the vendor advises, and which fields may be misspelt; they are sent all the same."""
    problems, _ = validate(cls, body, extra_is_known=False)
    _, advice = validate(cls, body, extra_is_known=True)
    for text in [*advice, *(str(problem) for problem in problems if problem.rule == "unknown")]:
        print_error(f"advice: {text}")


async def _call(options: argparse.Namespace, body: dict[str, Any]) -> Any:
    cls = ACTIONS.get(options.action)
    async with client_from_options(options, timeout=options.timeout) as client:
        if cls is None:
            return await client.call_raw(options.action, body, service=Service(options.service), repeat=Repeat.ONCE)
        response = await client.call_with_response(cls.from_wire(body))
        print_error(f"RequestId {response.request_id}, attempts: {response.attempts}, {response.elapsed:.3f} s")
        return response.data


def _body(text: str) -> dict[str, Any]:
    """The request's body, given in the words of the command line.

    Raises:
        ConfigurationError: it is not a JSON object.
    """
    if text == "-":
        raw = sys.stdin.read()
    elif text.startswith("@"):
        try:
            raw = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read BODY from {text[1:]}: {getattr(error, 'strerror', None) or error}") from None
    else:
        raw = text
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        hint = (
            ""
            if raw is not text
            else """: write it in quotes of the shell, such as '{"Limit": 3}', or put it into a file and give @FILE"""
        )
        raise ConfigurationError(f"BODY is not JSON{hint} ({error})") from None
    if not isinstance(body, dict):
        raise ConfigurationError('BODY must be a JSON object, such as {"AgentIds": ["guide"]}')
    return body
