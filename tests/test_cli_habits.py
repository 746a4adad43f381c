"""The command line's good habits: a starter, completion, help with examples, files and ways to the service."""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from cli_fixtures import *  # noqa: F403 - fixtures
from cli_fixtures import PROGRAM, lines, order, state, task, voice, write
from redis_server import RedisServer

from zego_aigc.cli import main
from zego_aigc.cli._next import next_steps
from zego_aigc.cli._parser import parser
from zego_aigc.provisioning import Fleet

COMMANDS = [name for action in parser()._actions if isinstance(action, argparse._SubParsersAction) for name in action.choices]

# --- the first steps


def test_the_starter_fleet_is_valid_as_it_stands_and_can_be_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert not [problem for located in Fleet("fleet.toml", environ={}) for problem in located.problems]
    assert not [text for located in Fleet("fleet.toml", environ={}) for text in located.advice]
    assert "provision fleet.toml --journal try.journal --sandbox" in capsys.readouterr().err
    assert main(["provision", "fleet.toml", "--journal", "f.journal", "--sandbox"]) == 0
    assert "4 of 4 done" in capsys.readouterr().out


def test_the_starter_fleet_overwrites_nothing_and_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("fleet.toml").write_text("mine")
    assert main(["init"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert Path("fleet.toml").read_text() == "mine"
    assert main(["init", "fleet.yaml"]) == 2
    assert "fleet.toml" in capsys.readouterr().err
    assert main(["init", "-"]) == 0
    assert "[[fleet]]" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example_that_is_one_of_its_own(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    examples = [line for line in out.partition("example")[2].splitlines() if "zego-aigc" in line]
    assert examples
    assert all(f"zego-aigc {command}" in example for example in examples)
    assert max(map(len, out.splitlines())) <= 110


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["provison"], "'provison' is not a command; did you mean provision?"),
        (["nonsense"], "'nonsense' is not a command; there are init, plan, provision,"),
        (["provision", "f", "--jornal", "j", "--journal", "j"], "unrecognized arguments: --jornal j; did you mean --journal?"),
        (["provision", "f", "--journal", "j", "--on-quota", "wiat"], "did you mean wait?"),
        (["call", "X", "--rate", "0"], "must be a whole number of calls a second"),
        (["provision", "f", "--journal", "j", "--proxy", "proxy:3128"], "must begin with http:// or https://"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_closest(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_options_and_choices() -> None:
    def completed(line: str) -> set[str]:
        script = f"""
        eval "$({sys.executable} -m zego_aigc completion bash)"
        zego-aigc() {{ {sys.executable} -m zego_aigc "$@"; }}
        COMP_LINE={line!r}; COMP_POINT={len(line)}; COMP_TYPE=9; COMP_WORDS=($COMP_LINE); COMP_CWORD=1
        _python_argcomplete zego-aigc
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        return set(subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split())

    assert completed("zego-aigc prov") == {"provision"}
    assert completed("zego-aigc provision --on-u") == {"--on-unknown"}
    assert completed("zego-aigc provision --until s") == {"streaming"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_given_a_script_of_theirs(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "zego-aigc" in capsys.readouterr().out


# --- files and streams


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_fleet_may_come_by_standard_input_in_either_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("f.jsonl"), *(task(f"s{n}") for n in range(3)))
    stdin(monkeypatch, Path("f.jsonl").read_bytes())
    assert main(["provision", "-", "--journal", "a.journal", "--sandbox"]) == 0
    Path("rooms.csv").write_text("room\nhall\nfoyer\n")
    toml = """
    [[fleet]]
    Action = "CreateDigitalHumanStreamTask"
    Rows = "rooms.csv"
    Body = { DigitalHumanConfig = { DigitalHumanId = "h" }, RTCConfig = { RoomId = "{room}", StreamId = "{room}" } }
    """
    stdin(monkeypatch, toml.encode())
    assert main(["provision", "-", "--journal", "b.journal", "--sandbox"]) == 0
    assert "2 of 2 done" in capsys.readouterr().out
    stdin(monkeypatch, b'{"Action": "Nope"}\n')
    assert main(["provision", "-", "--journal", "c.journal", "--sandbox"]) == 2
    assert "<stdin>:1: Action: 'Nope' is not an Action" in capsys.readouterr().err
    stdin(monkeypatch, b"- Action: RegisterAgent\n")
    assert main(["provision", "-", "--journal", "c.journal", "--sandbox"]) == 2
    assert "<stdin>: is YAML: " in capsys.readouterr().err


def test_equal_problems_are_one_line_with_a_count_and_like_ones_a_few(capsys: pytest.CaptureFixture[str]) -> None:
    equal = [task(f"s{n}", TTL=5) for n in range(40)]
    alike = [task(f"t{n}", TTL=100_000 + n) for n in range(40)]
    write(Path("f.jsonl"), *equal, *alike, {"Action": "RegisterAgent"})
    assert main(["provision", "f.jsonl", "--journal", "j", "--sandbox"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "f.jsonl:1 and 39 more: Body.TTL: must be 10 to 86400 (got 5)"
    assert len([line for line in err if "got 1000" in line]) == 4
    assert "... and 36 more like those at Body.TTL" in err
    assert "f.jsonl:81: Body.AgentId: is required" in err
    assert err[-1] == "zego-aigc: 81 problems; nothing was sent"


def test_one_mistake_beside_very_many_others_is_still_named(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("f.jsonl"), *(task(f"s{n}", TTL=5) for n in range(1500)), {"Action": "Nope"})
    assert main(["provision", "f.jsonl", "--journal", "j", "--sandbox"]) == 2
    err = capsys.readouterr().err
    assert "f.jsonl:1 and 1499 more: Body.TTL" in err
    assert "f.jsonl:1501: Action: 'Nope'" in err
    assert "zego-aigc: 1501 problems" in err


def test_what_is_printed_may_be_cut_off_by_its_reader_and_the_run_goes_on() -> None:
    write(Path("f.jsonl"), *(task(f"s{n}") for n in range(10)))
    command = f"{sys.executable} -m zego_aigc provision f.jsonl --journal j --sandbox --json | head -1"
    subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    told = subprocess.run([*PROGRAM, "status", "j"], capture_output=True, text=True, check=False)
    assert "10 done" in told.stdout


def test_characters_that_a_stream_cannot_show_are_escaped_and_end_nothing() -> None:
    write(Path("f.jsonl"), task("s") | {"Key": "屏幕"})
    ran = subprocess.run(
        [*PROGRAM, "provision", "f.jsonl", "--journal", "j", "--sandbox", "--json"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0
    listed = subprocess.run(
        [*PROGRAM, "status", "j", "--all"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0
    assert r"\u5c4f\u5e55" in listed.stdout


# --- the environment and the way


def test_an_env_file_gives_what_the_environment_does_not(
    sandbox: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [name for name in os.environ if name.startswith("ZEGO_")]
    Path("my.env").write_text("".join(f"export {name}='{os.environ[name]}'\n" for name in names) + "# a comment\nLLM_URL=x\n")
    for name in names:
        monkeypatch.delenv(name)
    assert main(["call", "ListAgents"]) == 2
    assert main(["call", "ListAgents", "--env-file", "none.env"]) == 2
    assert "cannot read --env-file none.env" in capsys.readouterr().err
    assert main(["call", "ListAgents", "--env-file", "my.env"]) == 0
    for name in names:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ZEGO_SERVER_SECRET", "another")
    assert main(["call", "ListAgents", "--env-file", "my.env"]) == 1, "what is set already wins"
    assert len(state(sandbox)["calls"]) == 2


def test_a_wrong_clock_of_this_machine_is_said_once_and_stops_nothing(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    order(sandbox, "advance", Seconds=3600)
    fleet = write(Path("f.jsonl"), task("a"), task("b"))
    assert main(["provision", str(fleet), "--journal", "j"]) == 0
    said = re.findall(r"warning: this machine's clock is -3(?:600|59\d) s off the service's", capsys.readouterr().err)
    assert len(said) == 1


class Proxy:
    """Answers every request by itself, and remembers its first line."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        body = b'{"Code":0,"Message":"ok","RequestId":"r","Data":{"Total":0,"Agents":[],"Cursor":""}}'
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.seen.append(connection.recv(4096).split(b"\r\n")[0])
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.mark.parametrize(
    ("arguments", "variables", "goes_through"),
    [
        (["--proxy", "URL"], {}, True),
        ([], {"ZEGO_PROXY": "URL"}, True),
        ([], {"HTTP_PROXY": "URL"}, False),
        (["--proxy", "env"], {"http_proxy": "URL"}, True),
        (["--proxy", "env"], {"ALL_PROXY": "URL"}, True),
        (["--proxy", "env"], {"http_proxy": "URL", "no_proxy": "127.0.0.1"}, False),
        ([], {"ZEGO_PROXY": "env", "http_proxy": "URL"}, True),
    ],
)
def test_a_proxy_is_used_when_asked_for(
    arguments: list[str], variables: dict[str, str], goes_through: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy()
    account = {"ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET": "s" * 32, "ZEGO_AIAGENT_URL": "http://127.0.0.1:9"}
    for name, value in {**account, **variables}.items():
        monkeypatch.setenv(name, value.replace("URL", proxy.url) if value == "URL" else value)
    given = [argument.replace("URL", proxy.url) for argument in arguments]
    status = main(["call", "ListAgents", "--timeout", "60", *given])
    proxy.close()
    assert status == (0 if goes_through else 1)
    assert bool(proxy.seen) == goes_through


@pytest.mark.slow
def test_the_rate_of_an_account_is_that_of_the_limiter(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    del sandbox
    write(Path("f.jsonl"), *(task(f"s{n}") for n in range(15)))
    assert main(["provision", "f.jsonl", "--journal", "j", "--rate", "5", "--json"]) == 0
    finished = lines(capsys.readouterr().out)[-1]
    assert finished["seconds"] > 1.9, "15 calls at 5 a second"


@pytest.mark.slow
def test_a_redis_keeps_the_limits(sandbox: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with RedisServer() as server:
        url = server.url
        write(Path("f.jsonl"), *(task(f"s{n}") for n in range(6)))
        arguments = ["provision", "f.jsonl", "--journal", "j", "--quota", "4", "--quota-wait", "1"]
        assert main([*arguments, "--redis", url]) == 3
        assert "4 of 6 done, 2 pending" in capsys.readouterr().out
        monkeypatch.setenv("ZEGO_REDIS_URL", url)
        assert main(["call", "ListAgents"]) == 0
        assert len(state(sandbox)["tasks"]) == 4
    assert main(["call", "ListAgents", "--redis", "http://x"]) == 2


# --- status


@pytest.fixture
def fleet(sandbox: str) -> str:
    """A fleet that is made, one digital human and one agent of it."""
    human = voice("h", "guide")
    human["Action"] = "CreateDigitalHumanAgentInstance"
    human["Body"]["DigitalHuman"] = {"DigitalHumanId": "h"}
    write(
        Path("f.jsonl"), {"Action": "RegisterAgent", "Body": {"AgentId": "guide"}}, human, task("screen") | {"Key": "=screen"}
    )
    assert main(["provision", "f.jsonl", "--journal", "j", "--json"]) == 0
    return sandbox


@pytest.mark.slow
def test_status_lists_every_entry_with_what_a_front_end_needs(fleet: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = state(fleet)
    capsys.readouterr()
    assert main(["status", "j", "--all", "--json"]) == 0
    agent, human, screen = lines(capsys.readouterr().out)
    assert (agent["key"], agent["id"]) == ("RegisterAgent:guide", "guide")
    assert human["id"] == made["instances"][0]["AgentInstanceId"]
    assert (human["room_id"], human["stream_id"], human["agent_user_id"]) == ("r-h", "s-h", "b-h")
    assert len(human["digital_human_config"]) > 20
    assert screen["since"].endswith("Z")

    assert main(["status", "j", "--all", "--csv"]) == 0
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[1]["DigitalHumanConfig"] == human["digital_human_config"]
    assert rows[2]["Key"] == "'=screen", "a spreadsheet must not take it for a formula"

    assert main(["status", "j", "--all"]) == 0
    header, *table = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["KEY", "ACTION", "STATUS", "SINCE"]
    assert len(table) == 3
    assert "ERROR" not in header, "a column that holds nothing is left out"


def test_status_says_as_json_what_still_lives(fleet: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = state(fleet)
    capsys.readouterr()
    assert main(["status", "j", "--live", "--json"]) == 0
    found = {line["key"]: line for line in lines(capsys.readouterr().out) if line["event"] == "entry"}
    assert {line["live"] for line in found.values()} == {True}
    assert made["instances"][0]["AgentInstanceId"] in {line["id"] for line in found.values()}


def test_status_says_what_to_do_next(fleet: str, capsys: pytest.CaptureFixture[str]) -> None:
    del fleet
    capsys.readouterr()
    assert main(["status", "j"]) == 0
    out, err = capsys.readouterr()
    assert "next: all is done." in err
    assert "next" not in out
    assert main(["status", "j", "--csv"]) == 2
    assert main(["status", "j", "--all", "--live"]) == 2


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"failed": 1, "done": 2}, ["failed: see to the causes above"]),
        ({"unknown": 1}, ["unknown: ", "by 10:00"]),
        ({"pending": 1, "failed": 2}, ["failed: ", "pending: "]),
        ({}, ["nothing is noted yet"]),
        ({"removed": 3}, []),
    ],
)
def test_each_state_has_its_next_step(counts: dict[str, int], words: list[str]) -> None:
    steps = list(next_steps(counts, "j", running=False, until="by 10:00"))
    assert len(steps) == (0 if not words else len({word.split(":")[0] for word in words if not word.startswith("by")}))
    for word in words:
        assert any(word in step for step in steps)
    (running,) = next_steps(counts, "j", running=True, until=None)
    assert "a run is going on" in running


@pytest.mark.slow
def test_failures_that_differ_in_their_request_ids_are_one_cause(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    order(sandbox, "faults", Fault="refuse", Actions=["CreateDigitalHumanStreamTask"], With={"code": 400000001})
    write(Path("f.jsonl"), *(task(f"s{n}") for n in range(3)))
    assert main(["provision", "f.jsonl", "--journal", "j"]) == 1
    capsys.readouterr()
    assert main(["status", "j"]) == 1
    out, err = capsys.readouterr()
    assert "failed: 3 entries: " in out
    assert out.count("RequestId") == 3
    assert "next: failed: see to the causes above" in err
