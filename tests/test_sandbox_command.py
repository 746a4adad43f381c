"""``zego-aigc sandbox``: what it prints, and whose account and secrets it takes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from typing import Any
from urllib.request import urlopen

import pytest

from zego_aigc.cli import main
from zego_aigc.sandbox import DEFAULT_APP_ID, DEFAULT_CALLBACK_SECRET, DEFAULT_SERVER_SECRET


def serve(*options: str, **variables: str) -> tuple[str, list[str], dict[str, Any]]:
    """The address and the further lines of a sandbox that ran for a moment, and a callback that it was asked for."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZEGO_")} | variables
    with subprocess.Popen(
        [sys.executable, "-m", "zego_aigc", "sandbox", *options], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            ready, _, url = process.stdout.readline().strip().partition(" ")
            assert ready == "READY"
            order = json.dumps({"Event": "ASRResult", "About": "7"}).encode()
            with urlopen(f"{url}/_sandbox/emit", order) as answer:
                delivery = json.load(answer)
            process.send_signal(signal.SIGTERM)
            lines = process.stdout.read().splitlines()
            assert process.wait(10) == 0
        finally:
            process.kill()
    return url, lines, delivery


def signed_with(secret: str, body: dict[str, Any]) -> bool:
    words = sorted([secret, str(body["Timestamp"]), body["Nonce"]])
    return bool(body["Signature"] == hashlib.sha1("".join(words).encode()).hexdigest())


def test_an_account_of_its_own_is_printed_whole() -> None:
    url, lines, delivery = serve()
    assert lines == [
        f"export ZEGO_APP_ID={DEFAULT_APP_ID}",
        f"export ZEGO_SERVER_SECRET={DEFAULT_SERVER_SECRET}",
        f"export ZEGO_AIAGENT_URL={url}",
        f"export ZEGO_DIGITALHUMAN_URL={url}",
        f"export ZEGO_CALLBACK_SECRET={DEFAULT_CALLBACK_SECRET}",
    ]
    assert delivery["Url"] is None
    assert signed_with(DEFAULT_CALLBACK_SECRET, delivery["Body"])


def test_the_account_of_the_environment_is_taken_and_its_secrets_are_not_printed() -> None:
    secrets = {"ZEGO_SERVER_SECRET": "of-the-server", "ZEGO_CALLBACK_SECRET": "of-callbacks"}
    address = "http://127.0.0.1:9/callbacks"
    url, lines, delivery = serve("--callback-url", address, ZEGO_APP_ID="4242", **secrets)
    assert lines == ["export ZEGO_APP_ID=4242", f"export ZEGO_AIAGENT_URL={url}", f"export ZEGO_DIGITALHUMAN_URL={url}"]
    assert (delivery["Url"], delivery["Body"]["AppId"]) == (address, 4242)
    assert signed_with("of-callbacks", delivery["Body"])


@pytest.mark.parametrize(
    "option", [("--port", "65536"), ("--port", "-1"), ("--callback-url", "localhost:80"), ("--quota", "-1")]
)
def test_an_option_that_cannot_be_is_named(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["sandbox", *option])
    assert option[0] in capsys.readouterr().err


@pytest.mark.parametrize("app_id", ["0", "4294967296", "twelve"])
def test_an_app_id_that_cannot_be_is_told(
    app_id: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZEGO_APP_ID", app_id)
    monkeypatch.setenv("ZEGO_SERVER_SECRET", "x")
    assert main(["sandbox"]) == 2
    assert "ZEGO_APP_ID must be a number from 1 to 4294967295" in capsys.readouterr().err
