"""What the command line prints on a terminal is broken between words, at the terminal's width; elsewhere it is left alone."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from cli_fixtures import *  # noqa: F403 - fixtures
from cli_fixtures import task, voice, write

from zego_aigc.cli import main
from zego_aigc.cli._ask import confirm
from zego_aigc.cli._next import next_steps
from zego_aigc.cli._output import command, print_error, wrapped
from zego_aigc.cli._parser import parser

LONG = [task(f"a-stream-with-a-rather-long-name-{n}") for n in range(4)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, *, columns: int = 80) -> Terminal:
    """What stands for the standard streams from now on, and answers with no. pytest sets its own before each test begins."""
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    one = Terminal()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, one)
    monkeypatch.setenv("COLUMNS", str(columns))
    return one


def said(terminal: Terminal) -> list[str]:
    """What was printed, in lines none of which is too wide."""
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    return lines


def words(text: str) -> list[str]:
    return text.split()


def test_a_plan_and_its_warnings_are_broken_between_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Path("f.jsonl"), *LONG, *(task(f"s{n}") for n in range(10)))
    assert main(["plan", "f.jsonl", "--journal", "j"]) == 4
    out, err = capsys.readouterr()
    assert max(map(len, (out + err).splitlines())) > 80, "no terminal: each is one line"
    terminal = on_terminal(monkeypatch)
    assert main(["plan", "f.jsonl", "--journal", "j"]) == 4
    assert words("\n".join(said(terminal))) == words(err + out)
    monkeypatch.setenv("COLUMNS", "200")
    assert wrapped("a " * 90, terminal) == "a " * 90


@pytest.mark.parametrize(
    "arguments", [["describe"], ["describe", "CreateDigitalHumanAgentInstance"], ["describe", "RegisterAgent"]]
)
def test_descriptions_are_as_wide_as_the_terminal(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    assert main(arguments) == 0
    lines = terminal.getvalue().splitlines()
    assert max(len(line) for line in lines if not line.startswith("https://")) <= 80
    if arguments == ["describe"]:
        assert all(line[:36].strip() == "" or re.match(r"\w+ +\w", line) for line in lines), "the second column is one"


def test_helps_are_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    lines = parser().format_help().splitlines()
    assert max(len(line) for line in lines if not line.startswith("  zego-aigc")) <= 70


def test_a_question_is_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    question = "End what fleet.journal made: " + ", ".join(f"{n} RegisterAgent" for n in range(9))
    assert not confirm(question, yes=False)
    assert words("\n".join(said(terminal))) == words(f"{question}? [y/N]")


def test_a_command_within_a_text_stays_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    for step in next_steps({"failed": 1, "unknown": 1, "removed": 1, "done": 1}, "j", running=False, until=None):
        print_error(step)
    lines = said(terminal)
    for whole in ("zego-aigc provision FLEET --journal j", "zego-aigc resolve j KEY --id ID", "zego-aigc teardown j"):
        assert any(whole in line for line in lines)
    assert wrapped(command("zego-aigc init"), io.StringIO()) == "zego-aigc init"


def test_every_entry_of_a_journal_has_a_few_lines_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = {"Action": "RegisterAgent", "Body": {"AgentId": "guide"}}
    write(Path("f.jsonl"), agent, voice("v", "guide"), task("screen"))
    assert main(["provision", "f.jsonl", "--journal", "j", "--sandbox", "--json"]) == 0
    terminal = on_terminal(monkeypatch)
    assert main(["status", "j", "--all"]) == 0
    lines = said(terminal)
    assert [line for line in lines if not line.startswith(" ")] == [
        "RegisterAgent:guide",
        "CreateAgentInstance:s-v",
        "CreateDigitalHumanStreamTask:screen",
    ]
    text = "\n".join(lines)
    for fact in ("  done since ", "RoomId r-v", "StreamId s-v", "AgentId guide", "AgentUserId b-v"):
        assert fact in text
    terminal = on_terminal(monkeypatch, columns=250)
    assert main(["status", "j", "--all"]) == 0
    assert len(terminal.getvalue().splitlines()) == 4, "a header and a line for each"


@pytest.mark.parametrize("columns", [1, 2, 25])
def test_a_terminal_that_is_too_narrow_for_anything_makes_nothing_fail(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch, columns=columns)
    parser().format_help()
    assert main(["describe"]) == 0
