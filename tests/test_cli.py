"""The command line: what it prints, and with which status it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from cli_fixtures import *  # noqa: F403 - fixtures
from cli_fixtures import PROGRAM, lines, order, state, task, voice, write

from zego_aigc.cli import main
from zego_aigc.provisioning.journal_reader import read_journal

ROOT = Path(__file__).parent.parent
FLEET = ROOT / "examples" / "fleet.toml"
NOBODY = "http://127.0.0.1:9"


@pytest.mark.slow
def test_a_fleet_is_made_once_shown_and_removed_in_another_process(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    agents = [{"Action": "RegisterAgent", "Body": {"AgentId": f"a{n}"}} for n in range(12)]
    entries = [*agents, *(voice(f"v{n}", f"a{n}") for n in range(12)), *(task(f"s{n}") for n in range(12))]
    provision = ["provision", str(write(Path("f.jsonl"), *entries)), "--journal", "f.journal"]

    assert main(provision) == 0
    assert "36 of 36 done in" in capsys.readouterr().out
    made = state(sandbox)
    assert [len(made[what]) for what in ("agents", "instances", "tasks")] == [12, 12, 12]

    assert main(provision) == 0
    assert "36 of 36 done (36 of them earlier)" in capsys.readouterr().out
    assert len(state(sandbox)["calls"]) == len(made["calls"])

    assert main(["status", "f.journal"]) == 0
    assert "12 done" in capsys.readouterr().out
    assert main(["status", "f.journal", "--live"]) == 0
    assert "12 live" in capsys.readouterr().out

    assert main(["teardown", "f.journal"]) == 0
    left = state(sandbox)
    assert not left["agents"]
    assert not left["instances"]
    assert not left["tasks"]
    assert main(["teardown", "f.journal"]) == 0
    capsys.readouterr()
    assert main(["status", "f.journal", "--json"]) == 0
    assert lines(capsys.readouterr().out)[-1]["total"] == {"removed": 36}


@pytest.mark.slow
def test_run_it_with_a_sandbox_inside_and_say_so_once_that_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    provision = ["provision", str(FLEET), "--journal", "f.journal", "--sandbox", "--quota", "100"]
    assert main([*provision, "--json"]) == 0
    events = [event for event in lines(capsys.readouterr().out) if event["event"] != "progress"]
    assert events[0] == {"event": "started", "actions": events[0]["actions"]}
    assert events[-1]["event"] == "finished"
    assert events[-1]["done"] == 150
    assert sum(event["event"] == "outcome" and event["status"] == "done" for event in events) == 150

    before = Path("f.journal").read_bytes()
    for again in (provision, ["teardown", "f.journal"], ["status", "f.journal", "--live"]):
        assert main(again) == 2
        assert "sandbox has ended" in capsys.readouterr().err
    assert Path("f.journal").read_bytes() == before
    assert main(["status", "f.journal"]) == 0
    assert "sandbox has ended" in capsys.readouterr().out


@pytest.mark.slow
def test_the_sandbox_keeps_the_vendors_quota_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    fleet = write(Path("f.jsonl"), *(task(f"s{n}") for n in range(12)))
    arguments = ["provision", str(fleet), "--journal", "f.journal", "--sandbox", "--quota-wait", "1"]
    assert main(arguments) == 3
    out = capsys.readouterr().out
    assert "10 of 12 done, 2 pending" in out
    assert main(["status", "f.journal"]) == 3


def test_every_problem_of_a_fleet_is_a_line_and_nothing_is_sent(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = write(
        Path("bad.jsonl"),
        task("a"),
        task("a"),
        task("b", TTL=5),
        task("c", Nonsense=1),
        {"Action": "Nope"},
        {"Action": "RegisterAgent", "Body": {"AgentId": "x" * 200}},
    )
    with fleet.open("a") as file:
        file.write("{broken\n")
    assert main(["provision", str(fleet), "--journal", "f.journal"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith("bad.jsonl:2: Body.RTCConfig.StreamId: 'a' is taken by bad.jsonl:1")
    assert [line.split(": ")[0] for line in err[:-1]] == [f"bad.jsonl:{n}" for n in (2, 3, 4, 5, 6, 7)]
    assert err[-1] == "zego-aigc: 6 problems; nothing was sent"
    assert not Path("f.journal").exists()
    assert not state(sandbox)["calls"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["provision", "none.jsonl", "--journal", "j", "--sandbox"], "cannot read none.jsonl"),
        (["provision", "empty.jsonl", "--journal", "j", "--sandbox"], "empty.jsonl holds no entries"),
        (["provision", "one.jsonl", "--journal", "no/such/j", "--sandbox"], "no directory"),
        (["provision", "one.jsonl", "--journal", "one.jsonl", "--sandbox"], "one.jsonl is not a journal of zego-aigc"),
        (["provision", "one.jsonl", "--journal", "j"], "set ZEGO_APP_ID and ZEGO_SERVER_SECRET"),
        (["teardown", "none.journal"], "there is no journal none.journal"),
        (["status", "none.journal"], "there is no journal none.journal"),
        (["call", "QueryAgents", "{}"], "set ZEGO_APP_ID and ZEGO_SERVER_SECRET"),
        (["call", "QueryAgents", "[1"], "BODY is not JSON"),
        (["call", "QueryAgents", "[1]"], "BODY must be a JSON object"),
        (["describe", "QueryAgnets"], "did you mean QueryAgents"),
        (["token", "user"], "set ZEGO_APP_ID and ZEGO_SERVER_SECRET"),
    ],
)
def test_wrong_usage_is_said_clearly_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    Path("empty.jsonl").write_text("\n")
    write(Path("one.jsonl"), task("a"))
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
    assert Path("one.jsonl").read_text().startswith('{"Action"')


def test_options_that_are_wrong_end_with_2() -> None:
    for arguments in (
        [],
        ["provision"],
        ["nope"],
        ["sandbox", "--quota", "-1"],
        ["provision", "x", "--journal", "j", "--quota-wait", "0"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--quota", "x", "must be a number, 0 or more, not 'x'"),
        ("--quota-wait", "soon", "must be a number of seconds above 0, not 'soon'"),
        ("--quota-wait", "nan", "must be a number of seconds above 0, not 'nan'"),
    ],
)
def test_an_option_that_is_no_number_says_what_it_must_be(
    capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    with pytest.raises(SystemExit):
        main(["provision", "f", "--journal", "j", option, value])
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_that_is_not_there_is_named_and_the_journal_stays_good(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("APP_ID", "1"), ("SERVER_SECRET", "secret"), ("AIAGENT_URL", NOBODY), ("DIGITALHUMAN_URL", NOBODY)):
        monkeypatch.setenv(f"ZEGO_{name}", value)
    fleet = write(Path("f.jsonl"), *(task(f"s{n}") for n in range(20)))
    assert main(["provision", str(fleet), "--journal", "f.journal"]) == 1
    out = capsys.readouterr().out
    assert "failed: 20 entries: cannot reach 127.0.0.1:9: " in out
    assert " and 17 more\n" in out
    assert main(["status", "f.journal"]) == 1
    assert capsys.readouterr().out.count("cannot reach") == 1
    assert main(["call", "QueryAgents", '{"AgentIds": ["a"]}', "--timeout", "60"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_call_prints_data_and_hides_secrets(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    del sandbox
    body = {"AgentId": "a", "LLM": {"Url": "https://x.example", "Model": "m", "ApiKey": "sk-hidden"}}
    Path("body.json").write_text(json.dumps(body))
    assert main(["call", "RegisterAgent", "@body.json"]) == 0
    assert main(["call", "QueryAgents", '{"AgentIds": ["a"]}']) == 0
    out = capsys.readouterr().out
    assert '"AgentId": "a"' in out
    assert "sk-hidden" not in out
    assert main(["call", "QueryAgents", '{"AgentIds": ["a"]}', "--secrets"]) == 0
    assert "sk-hidden" in capsys.readouterr().out
    assert main(["call", "RegisterAgent", "@body.json"]) == 1
    assert "410001008" in capsys.readouterr().err
    assert main(["call", "RegisterAgent", '{"Name": "x"}']) == 2
    assert "AgentId: is required" in capsys.readouterr().err


def test_describe_prints_fields_and_lists_actions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 33
    assert main(["describe", "CreateDigitalHumanStreamTask"]) == 0
    assert "RTCConfig" in capsys.readouterr().out


def test_token_prints_a_token(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography")
    monkeypatch.setenv("ZEGO_APP_ID", "1")
    monkeypatch.setenv("ZEGO_SERVER_SECRET", "0123456789abcdef0123456789abcdef")
    assert main(["token", "user", "--room", "r", "--no-publish"]) == 0
    assert capsys.readouterr().out.startswith("04")


def begun(arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([*PROGRAM, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def wait_for(process: subprocess.Popen[str], event: str, count: int = 1) -> None:
    assert process.stdout is not None
    while count:
        count -= json.loads(process.stdout.readline())["event"] == event


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_once_stops_cleanly_and_the_same_command_goes_on(sandbox: str) -> None:
    fleet = write(Path("f.jsonl"), *(task(f"s{n}") for n in range(40)))
    order(sandbox, "app", Quota=30)  # so that it is not over before it is interrupted
    arguments = ["provision", str(fleet), "--journal", "f.journal", "--json"]
    process = begun(arguments)
    wait_for(process, "outcome", 12)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    finished = lines(out)[-1]
    assert (process.returncode, err) == (3, "")
    assert finished["stopped"] == "it was interrupted"
    assert finished["unknown"] == 0
    before = state(sandbox)
    assert finished["done"] == len(before["tasks"]) < 40
    order(sandbox, "app", Quota=40)
    assert main(arguments) == 0
    after = state(sandbox)
    assert len(after["tasks"]) == 40
    first = len(before["calls"])
    pause = after["calls"][first]["Time"] - after["calls"][first - 1]["Time"]
    assert pause > 1, "a run that follows at once keeps the limit with the one before"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_terminal_that_goes_away_counts_as_ctrl_c_once_however_often_it_is_said(sandbox: str) -> None:
    fleet = write(Path("f.jsonl"), *(task(f"s{n}") for n in range(40)))
    order(sandbox, "app", Quota=30)  # so that it is not over before
    order(sandbox, "faults", Fault="latency", With={"seconds": 0.5})
    process = begun(["provision", str(fleet), "--journal", "f.journal", "--json"])
    wait_for(process, "outcome", 5)
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    out, _ = process.communicate(timeout=60)
    finished = lines(out)[-1]
    assert process.returncode == 3
    assert (finished["stopped"], finished["unknown"]) == ("it was interrupted", 0), "what was in flight was waited for"
    assert finished["done"] == len(state(sandbox)["tasks"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo terminal")
def test_a_terminal_that_is_closed_stops_the_run_cleanly(sandbox: str) -> None:
    fleet = write(Path("f.jsonl"), *(task(f"s{n}") for n in range(60)))
    order(sandbox, "app", Quota=40)  # so that it is not over before
    main_end, terminal = pty.openpty()
    command = [*PROGRAM, "provision", str(fleet), "--journal", "f.journal"]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    os.set_blocking(main_end, False)
    while len(state(sandbox)["tasks"]) < 15:
        with contextlib.suppress(BlockingIOError):
            os.read(main_end, 65536)  # a terminal that nobody reads holds up whoever writes to it
        time.sleep(0.02)
    os.close(main_end)  # what is written from now on fails
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 3
    assert main(["status", "f.journal"]) == 3
    with read_journal("f.journal") as reading:
        counts = reading.counts()
    assert counts.get(("CreateDigitalHumanStreamTask", "sent"), 0) == 0, "what was in flight was waited for"
    assert counts["CreateDigitalHumanStreamTask", "done"] == len(state(sandbox)["tasks"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_twice_stops_at_once_and_the_journal_stays_good(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    faults = f"{sandbox}/_sandbox/faults"
    order(sandbox, "faults", Fault="stall_after_work", After=10)
    fleet = write(Path("f.jsonl"), *(task(f"s{n}") for n in range(30)))
    arguments = ["provision", str(fleet), "--journal", "f.journal", "--json"]
    process = begun(arguments)
    wait_for(process, "outcome", 10)
    while len(state(sandbox)["tasks"]) < 20:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    wait_for(process, "note")
    assert process.poll() is None, "it waits for answers, which never come"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (3, 1)
    assert main(["status", "f.journal"]) == 3
    out = capsys.readouterr().out
    assert "entries: no answer was noted" in out
    assert "  CreateDigitalHumanStreamTask:s19  sent at " in out
    urlopen(Request(faults, method="DELETE")).close()
    assert main(arguments) == 0
    assert len(state(sandbox)["tasks"]) == 30


@pytest.mark.slow
def test_two_runs_at_a_time_do_not_share_a_journal(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = write(Path("f.jsonl"), *(task(f"s{n}") for n in range(30)))
    order(sandbox, "app", Quota=20)  # so that it goes on until there is room
    arguments = ["provision", str(fleet), "--journal", "f.journal", "--json"]
    process = begun(arguments)
    wait_for(process, "outcome", 5)
    assert main(arguments) == 2
    assert f"written by another process ({process.pid})" in capsys.readouterr().err
    assert main(["status", "f.journal"]) == 3
    assert "A run is going on." in capsys.readouterr().out
    order(sandbox, "app", Quota=30)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
    assert [path.name for path in Path().glob("f.journal*")] == ["f.journal"], "a clean end leaves one file"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="terminals")
def test_on_a_terminal_the_progress_is_drawn_and_a_summary_stays() -> None:
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    fleet = write(Path("f.jsonl"), *(task(f"s{n}") for n in range(15)), {"Action": "RegisterAgent", "Body": {"AgentId": "a"}})
    process = subprocess.Popen(
        [*PROGRAM, "provision", str(fleet), "--journal", "f.journal", "--sandbox", "--quota-wait", "1"],
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "110", "LINES": "40"},
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        pass  # the terminal's other end was closed
    os.close(ours)
    text = shown.decode()
    assert process.wait(60) == 3
    for word in ("/s of 10", "the account is full of streams", "11 of 16 done, 5 pending"):
        assert word in text
