"""``zego-aigc sandbox``: what it prints, and whose account and secrets it takes, and the commands to one that runs."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.request import Request, urlopen

import pytest

from benchmarks.ports import reserved_port
from zego_aigc.cli import main
from zego_aigc.sandbox import DEFAULT_APP_ID, DEFAULT_CALLBACK_SECRET, DEFAULT_SERVER_SECRET


@contextmanager
def running(*options: str, **variables: str) -> Iterator[tuple[str, list[str]]]:
    """The address and the further lines of a sandbox that runs in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZEGO_")} | variables
    with subprocess.Popen(
        [sys.executable, "-m", "zego_aigc", "sandbox", *options], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            ready, _, url = process.stdout.readline().strip().partition(" ")
            assert ready == "READY"
            lines: list[str] = []
            while not lines or not lines[-1].startswith("# its page"):
                lines.append(process.stdout.readline().strip())
            yield url, lines
            process.send_signal(signal.SIGTERM)
            assert process.stdout.read() == ""
            assert process.wait(60) == 0
        finally:
            process.kill()


def command(*arguments: str, url: str = "", capsys: pytest.CaptureFixture[str]) -> Any:
    """What a command to a running sandbox prints."""
    name, *rest = arguments
    assert main(["sandbox", name, *(["--url", url] if url else []), *rest]) == 0
    return json.loads(capsys.readouterr().out)


class Receiver(BaseHTTPRequestHandler):
    """Keeps the callbacks that it gets."""

    bodies: queue.Queue[dict[str, Any]]

    def do_POST(self) -> None:
        self.bodies.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """An address for callbacks, and those that come there."""
    bodies: queue.Queue[dict[str, Any]] = queue.Queue()
    with HTTPServer(("127.0.0.1", 0), type("Handler", (Receiver,), {"bodies": bodies})) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/callbacks", bodies
        server.shutdown()
        thread.join()


def signed_with(secret: str, body: dict[str, Any]) -> bool:
    words = sorted([secret, str(body["Timestamp"]), body["Nonce"]])
    return bool(body["Signature"] == hashlib.sha1("".join(words).encode()).hexdigest())


def test_an_account_of_its_own_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with running() as (url, lines):
        assert lines == [
            f"export ZEGO_APP_ID={DEFAULT_APP_ID}",
            f"export ZEGO_SERVER_SECRET={DEFAULT_SERVER_SECRET}",
            f"export ZEGO_AIAGENT_URL={url}",
            f"export ZEGO_DIGITALHUMAN_URL={url}",
            f"export ZEGO_CALLBACK_SECRET={DEFAULT_CALLBACK_SECRET}",
            f"export ZEGO_SANDBOX_URL={url}",
            f"# its page: {url}/_sandbox/",
        ]
        delivery = command("trigger", "ASRResult", "--about", "7", url=url, capsys=capsys)
    assert (delivery["Url"], delivery["State"]) == (None, "unaddressed")


@pytest.mark.parametrize("flag", [True, False])
def test_the_secrets_of_the_environment_are_not_printed_and_callbacks_are_signed_with_its_own_only_when_asked(
    flag: bool, receiver: tuple[str, queue.Queue[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    address, bodies = receiver
    secrets = {"ZEGO_SERVER_SECRET": "of-the-server", "ZEGO_CALLBACK_SECRET": "of-callbacks"}
    flags = ["--callback-secret-from-env"] if flag else []
    with running("--callback-url", address, *flags, ZEGO_APP_ID="4242", **secrets) as (url, lines):
        assert "of-the-server" not in "".join(lines)
        assert "of-callbacks" not in "".join(lines)
        assert (f"export ZEGO_CALLBACK_SECRET={DEFAULT_CALLBACK_SECRET}" in lines) is not flag
        answer = command("trigger", "ASRResult", "Text=hello", "Round=3", "--about", "7", url=url, capsys=capsys)
        body = bodies.get(timeout=60)
    assert answer["Body"]["Signature"] == "***"
    assert (body["AppId"], body["Data"]["Text"], body["Data"]["Round"]) == (4242, "hello", 3)
    assert signed_with("of-callbacks" if flag else DEFAULT_CALLBACK_SECRET, body)


def test_the_flag_for_the_environments_callback_secret_needs_that_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ZEGO_CALLBACK_SECRET", raising=False)
    assert main(["sandbox", "--callback-secret-from-env"]) == 2
    assert "set ZEGO_CALLBACK_SECRET" in capsys.readouterr().err


def test_callbacks_to_other_machines_need_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "--callback-url", "https://app.example/callbacks"]) == 2
    assert "remote_callbacks" in capsys.readouterr().err


def test_a_sandbox_for_other_machines_prints_a_token_that_commands_need_and_speaks_tls_where_asked_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running("--host", "0.0.0.0", "--allow-host", "zego", "--tls") as (url, lines):
        (line,) = [line for line in lines if line.startswith("export ZEGO_SANDBOX_TOKEN=")]
        token = line.partition("=")[2]
        assert f"export ZEGO_SERVER_SECRET={DEFAULT_SERVER_SECRET}" not in lines  # everybody knows that one
        assert lines[-1] == f"# its page: {url}/_sandbox/?token={token}"
        monkeypatch.setenv("ZEGO_SANDBOX_URL", url)
        assert main(["sandbox", "advance", "5"]) == 2
        assert "wants the token" in capsys.readouterr().err
        monkeypatch.setenv("ZEGO_SANDBOX_TOKEN", token)
        assert command("advance", "5", capsys=capsys)["Now"] > 0
        match = re.fullmatch(r"# over TLS: (https://\S+) \(its certificate: (\S+)\)", lines[-2])
        assert match
        over_tls, certificate = match.groups()
        headers = {"Authorization": f"Bearer {token}"}
        with urlopen(Request(certificate, headers=headers), timeout=60) as answer:
            trusting = ssl.create_default_context(cadata=answer.read().decode())
        with urlopen(f"{over_tls}/?Action=ListAgents", timeout=60, context=trusting) as answer:
            assert json.load(answer)["Code"] == 100000001  # no AppId, and yet an answer


def test_a_running_sandbox_is_controlled_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running("--port", str(reserved_port())) as (_, lines):
        for line in lines[:-1]:
            monkeypatch.setenv(*line.removeprefix("export ").split("=", 1))
        rtc = {"RoomId": "r", "AgentStreamId": "s", "AgentUserId": "a", "UserStreamId": "u"}
        for action, body in (
            ("RegisterAgent", {"AgentId": "guide"}),
            ("CreateAgentInstance", {"AgentId": "guide", "UserId": "visitor", "RTC": rtc}),
        ):
            assert main(["call", action, json.dumps(body)]) == 0
        identity = json.loads("{" + capsys.readouterr().out.rpartition("{")[2])["AgentInstanceId"]
        assert command("speak", "Hello there", "--seconds", "2", capsys=capsys) == {"Text": "Hello there"}
        assert command("advance", "3", capsys=capsys)["Now"] > 0
        assert command("trigger", "Interrupted", capsys=capsys)["About"] == identity
        rule = ("--on", "ListAgents", "--times", "1")
        assert command("fault", "refuse", "code=410000006", *rule, capsys=capsys) == {"Faults": 1}
        assert main(["call", "ListAgents", "--timeout", "60"]) == 1
        assert "410000006" in capsys.readouterr().err
        assert command("fault", "clear", capsys=capsys) == {"Faults": 0}
        for wrong, message in (
            (["speak", "hi", "--about", "nobody"], "no agent instance 'nobody' is running"),
            (["fault", "explode"], "Fault must be one of"),
            (["trigger", "ASRResult", "Text"], "'Text' must be KEY=VALUE"),
            (["advance", "99999999"], "a month"),
        ):
            assert main(["sandbox", *wrong]) == 2
            assert message in capsys.readouterr().err
    assert main(["sandbox", "advance", "1"]) == 2
    assert "no sandbox answers at" in capsys.readouterr().err


def test_a_command_says_how_it_finds_a_sandbox(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ZEGO_SANDBOX_URL", "ZEGO_AIAGENT_URL"):
        monkeypatch.delenv(name, raising=False)
    assert main(["sandbox", "advance", "1"]) == 2
    assert "Set ZEGO_SANDBOX_URL to the address after READY" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [("--port", "65536"), ("--port", "-1"), ("--callback-url", "localhost:80"), ("--quota", "-1")]
)
def test_an_option_that_cannot_be_is_named(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["sandbox", *option])
    assert option[0] in capsys.readouterr().err


@pytest.mark.parametrize("app_id", ["0", "4294967296", "twelve"])
def test_an_app_id_that_cannot_be_is_an_error(
    app_id: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZEGO_APP_ID", app_id)
    monkeypatch.setenv("ZEGO_SERVER_SECRET", "x")
    assert main(["sandbox"]) == 2
    assert "ZEGO_APP_ID must be a number from 1 to 4294967295" in capsys.readouterr().err
