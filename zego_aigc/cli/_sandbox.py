"""``zego-aigc sandbox``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from zego_aigc.cli._environment import credentials
from zego_aigc.cli._output import print_line

if TYPE_CHECKING:
    from zego_aigc.sandbox import Sandbox

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Serve until told to end. Prints what leads a client here, except for secrets that the environment gave."""
    from zego_aigc.sandbox import DEFAULT_APP_ID, DEFAULT_CALLBACK_SECRET, DEFAULT_SERVER_SECRET

    given = credentials()
    app_id, secret = given or (DEFAULT_APP_ID, DEFAULT_SERVER_SECRET)
    given_callback_secret = os.environ.get("ZEGO_CALLBACK_SECRET", "").strip()
    callback_secret = given_callback_secret or DEFAULT_CALLBACK_SECRET

    def ready(sandbox: Sandbox) -> None:
        print_line(f"READY {sandbox.url}")
        print_line(f"export ZEGO_APP_ID={app_id}")
        if given is None:
            print_line(f"export ZEGO_SERVER_SECRET={secret}")
        print_line(f"export ZEGO_AIAGENT_URL={sandbox.url}")
        print_line(f"export ZEGO_DIGITALHUMAN_URL={sandbox.url}")
        if not given_callback_secret:
            print_line(f"export ZEGO_CALLBACK_SECRET={callback_secret}")

    async def serve_until_told() -> None:
        from zego_aigc.sandbox import serve

        account = {"app_id": app_id, "server_secret": secret, "quota": options.quota}
        callbacks = {"callback_url": options.callback_url, "callback_secret": callback_secret}
        serving = asyncio.ensure_future(serve(ready=ready, port=options.port, **account, **callbacks))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows: KeyboardInterrupt does it
                loop.add_signal_handler(number, serving.cancel)
        with suppress(asyncio.CancelledError):
            await serving

    asyncio.run(serve_until_told())
    return 0
