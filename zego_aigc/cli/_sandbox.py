"""``zego-aigc sandbox``: runs one, or has one that runs do something."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from zego_aigc.cli._environment import credentials
from zego_aigc.cli._output import print_line
from zego_aigc.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zego_aigc.sandbox import Sandbox

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Serve until stopped, or send a command to a sandbox that runs."""
    return _serve(options) if options.command is None else _send(options)


# --- serving ---------------------------------------------------------------------------------------------------------


def _serve(options: argparse.Namespace) -> int:
    """Print what leads a client here, except for secrets that the environment gave."""
    from zego_aigc.sandbox import DEFAULT_APP_ID, DEFAULT_CALLBACK_SECRET

    given = credentials()
    app_id, secret = given or (DEFAULT_APP_ID, None)
    callback_secret = DEFAULT_CALLBACK_SECRET
    if options.callback_secret_from_env:
        callback_secret = os.environ.get("ZEGO_CALLBACK_SECRET", "").strip()
        if not callback_secret:
            raise ConfigurationError("set ZEGO_CALLBACK_SECRET, or leave --callback-secret-from-env out")

    def ready(sandbox: Sandbox) -> None:
        print_line(f"READY {sandbox.url}")
        print_line(f"export ZEGO_APP_ID={app_id}")
        if given is None:
            print_line(f"export ZEGO_SERVER_SECRET={sandbox.server_secret}")
        print_line(f"export ZEGO_AIAGENT_URL={sandbox.url}")
        print_line(f"export ZEGO_DIGITALHUMAN_URL={sandbox.url}")
        if not options.callback_secret_from_env:
            print_line(f"export ZEGO_CALLBACK_SECRET={callback_secret}")
        print_line(f"export ZEGO_SANDBOX_URL={sandbox.url}")
        if sandbox.token:
            print_line(f"export ZEGO_SANDBOX_TOKEN={sandbox.token}")
        if sandbox.https_url:
            print_line(f"# over TLS: {sandbox.https_url} (its certificate: {sandbox.url}/_sandbox/certificate.pem)")
        print_line(f"# its page: {sandbox.page_url}")

    async def serve_until_stopped() -> None:
        from zego_aigc.sandbox import serve

        serving = asyncio.ensure_future(
            serve(
                ready=ready,
                host=options.host,
                port=options.port,
                allowed_hosts=options.allow_host,
                app_id=app_id,
                server_secret=secret,
                quota=options.quota,
                tls=options.tls,
                llm=options.llm,
                callback_url=options.callback_url,
                callback_secret=callback_secret,
                remote_callbacks=options.allow_remote_callbacks,
            )
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows: KeyboardInterrupt does it
                loop.add_signal_handler(number, serving.cancel)
        with suppress(asyncio.CancelledError):
            await serving

    try:
        asyncio.run(serve_until_stopped())
    except ValueError as error:  # settings that exclude each other
        raise ConfigurationError(str(error)) from error
    return 0


# --- commands to a sandbox that runs ---------------------------------------------------------------------------------


def _send(options: argparse.Namespace) -> int:
    """Send one command and print its answer."""
    about = {} if getattr(options, "about", None) is None else {"About": options.about}
    body: dict[str, Any]
    match options.command:
        case "trigger":
            name, body = "emit", {"Event": options.event, "Data": _pairs(options.data), **about}
        case "speak":
            name, body = "speak", {"Text": options.text, "Seconds": options.seconds, **about}
        case "advance":
            name, body = "advance", {"Seconds": options.seconds}
        case "fault" if options.fault == "clear":
            name, body = "faults", {}
        case _:
            name = "faults"
            body = {"Fault": options.fault, "Actions": options.on, "With": _pairs(options.arguments)}
            rule = {"Times": options.times, "After": options.after, "Every": options.every, "Chance": options.chance}
            body |= {key: value for key, value in rule.items() if value is not None}
    method = "DELETE" if options.command == "fault" and options.fault == "clear" else "POST"
    print_line(json.dumps(_request(options, method, name, body), ensure_ascii=False))
    return 0


def _pairs(texts: Sequence[str]) -> Mapping[str, Any]:
    """``KEY=VALUE`` arguments; a value that is JSON is read as such, any other is a string."""
    pairs: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"{text!r} must be KEY=VALUE, such as Text=Hello or Round=3")
        try:
            pairs[key] = json.loads(value)
        except ValueError:
            pairs[key] = value
    return pairs


def _request(options: argparse.Namespace, method: str, name: str, body: Mapping[str, Any]) -> Any:
    from urllib.error import HTTPError, URLError
    from urllib.request import ProxyHandler, Request, build_opener

    url = options.url or os.environ.get("ZEGO_SANDBOX_URL") or os.environ.get("ZEGO_AIAGENT_URL", "")
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError("which sandbox? Set ZEGO_SANDBOX_URL to the address after READY, or pass --url")
    headers = {"Content-Type": "application/json"}
    if token := options.token or os.environ.get("ZEGO_SANDBOX_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    request = Request(f"{url.rstrip('/')}/_sandbox/{name}", json.dumps(body).encode(), headers, method=method)  # noqa: S310 - http(s) only, see above
    try:
        # No proxy: what leads to other networks knows nothing of this machine's sandbox.
        with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
            return json.load(answer)
    except HTTPError as error:
        text = error.read().decode(errors="replace").strip()
        with suppress(ValueError, KeyError, TypeError):
            text = json.loads(text)["Error"]
        raise ConfigurationError(f"the sandbox refuses: {text}") from error
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConfigurationError(f"no sandbox answers at {url}: start one with 'zego-aigc sandbox' ({reason})") from error
