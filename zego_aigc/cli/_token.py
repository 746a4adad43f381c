"""``zego-aigc token``."""

from __future__ import annotations

import argparse

from zego_aigc.cli._environment import credentials
from zego_aigc.cli._output import print_line
from zego_aigc.errors import ConfigurationError
from zego_aigc.tokens import room_payload, token04

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print a login token."""
    account = credentials()
    if account is None:
        raise ConfigurationError("set ZEGO_APP_ID and ZEGO_SERVER_SECRET in the environment: a token is made from them")
    if options.no_publish and options.room is None:
        raise ConfigurationError("--no-publish needs --room")
    payload = "" if options.room is None else room_payload(options.room, publish=not options.no_publish)
    print_line(token04(account[0], options.user, account[1], ttl=options.ttl, payload=payload))
    return 0
