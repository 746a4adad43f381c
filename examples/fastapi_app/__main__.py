"""``python -m examples.fastapi_app``: the app, against the sandbox unless the environment names an account."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys

import uvicorn

from zego_aigc.sandbox import LiveSandbox


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.fastapi_app")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--workers", type=int, default=1, help="more than one needs --redis")
    parser.add_argument("--redis", default=os.environ.get("REDIS_URL"), metavar="URL")
    options = parser.parse_args()
    if options.workers > 1 and not options.redis:
        sys.exit("several workers share conversations through Redis: give --redis redis://host:6379/0")
    if options.redis:
        os.environ["REDIS_URL"] = options.redis
    with contextlib.ExitStack() as stack:
        if not os.environ.get("ZEGO_APP_ID"):
            address = f"http://127.0.0.1:{options.port}"
            live = stack.enter_context(LiveSandbox(callback_url=f"{address}/callbacks", quota=None))
            os.environ.update(live.env)
            os.environ.update(PUBLIC_URL=address, LLM_API_KEY=secrets.token_hex(16))
            print(f"against the sandbox at {live.url}/_sandbox/; open {address}", flush=True)
        uvicorn.run(
            "examples.fastapi_app.app:create_app",
            factory=True,
            host=options.host,
            port=options.port,
            workers=options.workers,
            log_level="warning",
            timeout_graceful_shutdown=3,  # pages that follow a conversation would hold the shutdown up for ever
        )


if __name__ == "__main__":
    main()
