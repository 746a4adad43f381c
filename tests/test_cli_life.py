"""The command line over the life of a fleet: plan, make, break, change, keep alive, resolve, and find what nobody knows."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_fixtures import *  # noqa: F403 - fixtures
from cli_fixtures import PROGRAM, lines, order, state, task, voice, write

from benchmarks.ports import reserved_port
from zego_aigc.cli import main

AGENT: dict[str, Any] = {"Action": "RegisterAgent", "Body": {"AgentId": "a", "Name": "Guide"}}
TASK = "CreateDigitalHumanStreamTask:s"
PLAN = ["plan", "f.jsonl", "--journal", "j"]
PROVISION = ["provision", "f.jsonl", "--journal", "j"]


def test_a_plan_needs_no_account_and_tells_by_its_status_whether_there_is_something_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(Path("f.jsonl"), AGENT, task("s"))
    assert main(PLAN) == 4
    assert "+ 1 RegisterAgent to make: RegisterAgent:a" in capsys.readouterr().out
    assert not Path("j").exists()
    write(Path("f.jsonl"), AGENT, task("s", TTL=5))
    assert main(PLAN) == 2
    assert "f.jsonl:2: Body.TTL" in capsys.readouterr().err
    assert main([*PLAN, "--live"]) == 2
    assert "ZEGO_APP_ID" in capsys.readouterr().err


@pytest.mark.slow
def test_a_fleet_is_made_changed_and_pruned_as_its_file_says(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("f.jsonl"), AGENT, voice("v"), task("s"))
    assert main(PROVISION) == 0
    assert main(PLAN) == 0
    assert "nothing to do: all that f.jsonl names is done" in capsys.readouterr().out
    changed = {"Action": "RegisterAgent", "Body": {"AgentId": "a", "Name": "Host"}}
    write(Path("f.jsonl"), changed, task("s", TTL=600))
    assert main(PLAN) == 4
    assert capsys.readouterr().out.splitlines()[:5] == [
        "~ RegisterAgent:a has changed: --update sends it",
        '    Name: "Guide" -> "Host"',
        f"~ {TASK} has changed: zego-aigc teardown j --only {TASK!r} ends it first",
        "    TTL: not set -> 600",
        "- 1 no longer in the fleet, which --prune removes: CreateAgentInstance:s-v",
    ]
    assert main([*PLAN, "--json"]) == 4
    (plan,) = lines(capsys.readouterr().out)
    assert [one["way"] for one in plan["changed"]] == ["update", "teardown"]
    assert main(["teardown", "j", "--only", "CreateDigitalHumanStreamTask:s"]) == 0
    assert main([*PROVISION, "--update", "--prune"]) == 0
    out, err = capsys.readouterr()
    assert "removed, no longer in the fleet: CreateAgentInstance:s-v" in err
    assert "1 removed that the fleet names no more" in out
    now = state(sandbox)
    assert (len(now["agents"]), len(now["instances"]), len(now["tasks"])) == (1, 0, 1)
    assert main(PLAN) == 0


@pytest.mark.slow
def test_what_has_ended_is_found_and_made_anew_when_asked(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("f.jsonl"), AGENT, voice("v"))
    assert main(PROVISION) == 0
    order(sandbox, "advance", Seconds=200)
    assert main(["status", "j", "--live"]) == 1
    assert "--refresh" in capsys.readouterr().err
    assert main([*PLAN, "--live"]) == 4
    assert "! CreateAgentInstance:s-v is gone at the service" in capsys.readouterr().out
    assert main([*PROVISION, "--refresh"]) == 0
    assert len(state(sandbox)["instances"]) == 1


@pytest.mark.slow
def test_an_unknown_is_resolved_by_hand(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    order(sandbox, "faults", Fault="cut_after_work", Actions=["CreateAgentInstance"], Times=1)
    write(Path("f.jsonl"), AGENT, voice("v"))
    assert main(PROVISION) == 3
    capsys.readouterr()
    assert main(["status", "j"]) == 3
    assert "zego-aigc resolve j KEY --id ID" in capsys.readouterr().err
    (instance,) = state(sandbox)["instances"]
    assert main(["resolve", "j", "CreateAgentInstance:s-x", "--gone"]) == 2
    assert "did you mean CreateAgentInstance:s-v?" in capsys.readouterr().err
    assert main(["resolve", "j", "CreateAgentInstance:s-v", "--id", instance["AgentInstanceId"]]) == 0
    assert main(["status", "j"]) == 0
    assert main(PROVISION) == 0
    assert main(["teardown", "j"]) == 0
    assert not state(sandbox)["instances"]


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.slow
def test_a_teardown_asks_on_a_terminal_and_nowhere_else(
    sandbox: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("f.jsonl"), AGENT, task("s"))
    assert main(PROVISION) == 0
    monkeypatch.setattr("sys.stdin", Keyboard("n\n"))
    assert main(["teardown", "j"]) == 3
    err = capsys.readouterr().err
    assert "End what j made at AppId" in err
    assert "1 CreateDigitalHumanStreamTask" in err
    assert len(state(sandbox)["tasks"]) == 1
    monkeypatch.setattr("sys.stdin", Keyboard("yes\n"))
    assert main(["teardown", "j", "--only", "CreateDigitalHumanStreamTask:s"]) == 0
    assert not state(sandbox)["tasks"]
    monkeypatch.setattr("sys.stdin", Keyboard(""))
    assert main(["teardown", "j", "--yes"]) == 0
    assert not state(sandbox)["agents"]


def test_what_no_journal_knows_is_listed_and_ended_after_a_question(
    sandbox: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("f.jsonl"), AGENT, task("s"))
    assert main(PROVISION) == 0
    assert main(["call", "RegisterAgent", '{"AgentId": "stray", "Name": "S", "LLM": {"Url": "https://x", "Model": "m"}}']) == 0
    assert main(["call", "CreateDigitalHumanStreamTask", json.dumps(task("stray")["Body"])]) == 0
    capsys.readouterr()
    assert main(["orphans", "j", "--json"]) == 0
    agent, stray = lines(capsys.readouterr().out)
    assert (agent["id"], stray["stream_id"]) == ("stray", "stray")
    assert main(["orphans"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["orphans", "j", "--stop"]) == 2
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", Keyboard("n\n"))
    assert main(["orphans", "j", "--stop"]) == 3
    monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
    assert main(["orphans", "j", "--stop"]) == 0
    assert "2 of 2 ended" in capsys.readouterr().err
    assert (len(state(sandbox)["agents"]), len(state(sandbox)["tasks"])) == (1, 1)
    assert main(["orphans", "j"]) == 0
    assert "nothing that no journal knows" in capsys.readouterr().err


def until(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def under_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def plainly(out: str) -> list[tuple[str, str]]:
    """What plain lines say happened, and to which key."""
    words = [line.split()[2:4] for line in out.splitlines()]
    return [("gone" if what == "gone" else "outcome", key.rstrip(":")) for what, key in words]


def test_callbacks_need_a_secret_and_an_address_that_is_free(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZEGO_APP_ID", "1")
    monkeypatch.setenv("ZEGO_SERVER_SECRET", "0123456789abcdef0123456789abcdef")
    write(Path("f.jsonl"), AGENT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = ["maintain", "f.jsonl", "--journal", "j", "--callbacks", address]
        assert main(command) == 2
        assert "ZEGO_CALLBACK_SECRET" in capsys.readouterr().err
        monkeypatch.setenv("ZEGO_CALLBACK_SECRET", "secret")
        assert main(command) == 2
        assert f"cannot listen on {address}" in capsys.readouterr().err


class Kept:
    """A fleet that is kept alive by one way of knowing, and the sandbox that it is in; each in a process of its own."""

    def __init__(self, by: str, stack: contextlib.ExitStack) -> None:
        port = reserved_port()
        command = [*PROGRAM, "sandbox", "--callback-url", f"http://127.0.0.1:{port}/zego"]
        box = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(box.kill)
        assert box.stdout is not None
        self.url = box.stdout.readline().split()[1]
        self.env = dict(os.environ)
        for _ in range(5):
            name, _, value = box.stdout.readline().strip().removeprefix("export ").partition("=")
            self.env[name] = value
        self.journal = f"{by}.journal"
        self.is_json = by == "asking"
        how = ["--interval", "0.5", "--json"] if by == "asking" else ["--interval", "600", "--callbacks", f"127.0.0.1:{port}"]
        self.keeper = stack.enter_context(
            subprocess.Popen(
                [*PROGRAM, "maintain", "f.jsonl", "--journal", self.journal, *how],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=self.env,
                preexec_fn=under_nohup,  # noqa: PLW1509 - no other thread runs here
            )
        )
        stack.callback(self.keeper.kill)

    def instances(self) -> list[str]:
        return [instance["AgentInstanceId"] for instance in state(self.url)["instances"]]

    def teardown(self) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "teardown", self.journal]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_fleet_is_kept_alive_by_asking_and_by_callbacks_until_it_is_stopped() -> None:
    write(Path("f.jsonl"), AGENT, voice("v"), task("s"))
    with contextlib.ExitStack() as stack:
        both = [Kept(by, stack) for by in ("asking", "callbacks")]
        first: dict[Kept, list[str]] = {}
        for kept in both:
            until(lambda kept=kept: len(kept.instances()) == 1 and len(state(kept.url)["tasks"]) == 1)
            first[kept] = kept.instances()
            busy = kept.teardown()
            assert (busy.returncode, "being written" in busy.stderr) == (2, True)
            kept.keeper.send_signal(signal.SIGHUP)  # which says nothing under nohup
            order(kept.url, "advance", Seconds=200)
        for kept in both:
            until(lambda kept=kept: kept.instances() not in ([], first[kept]))
            kept.keeper.send_signal(signal.SIGTERM)
            out, err = kept.keeper.communicate(timeout=60)
            assert kept.keeper.returncode == 0, err
            said = [(event["event"], event.get("key")) for event in lines(out)] if kept.is_json else plainly(out)
            assert [key for what, key in said if what == "gone"] == ["CreateAgentInstance:s-v"]
            assert sum(key == "CreateAgentInstance:s-v" and what == "outcome" for what, key in said) == 2
            assert "3 of 3 were alive" in err
            assert kept.teardown().returncode == 0
            assert not kept.instances()
