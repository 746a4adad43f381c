"""What the command line says of rare things: as plain lines and as JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from cli_fixtures import *  # noqa: F403 - fixtures
from cli_fixtures import lines, write

from zego_aigc.aiagent import RegisterAgent, UnregisterAgent
from zego_aigc.cli import main
from zego_aigc.cli._errors import report_error
from zego_aigc.cli._format import verdict
from zego_aigc.cli._maintain import _print
from zego_aigc.errors import NotFound
from zego_aigc.provisioning import Gone, JournalLost, Outcome, Pruned, Report, Warned

AGENT: dict[str, Any] = {"Action": "RegisterAgent", "Body": {"AgentId": "a"}}
ENDED = Gone("v", "CreateAgentInstance", "7", "MaxIdleTime", 0.0)
DIED = Gone("v", "CreateAgentInstance", "7", "", 20.0)
MADE = Outcome(key="a", action=RegisterAgent(agent_id="a"), status="done", origin="made")
LOST = Outcome(
    key="a", action=RegisterAgent(agent_id="a"), status="failed", error=NotFound(code=1, name="Gone", action="RegisterAgent")
)
REMOVED = Pruned(Outcome(key="old", action=UnregisterAgent(agent_id="old"), status="done", made_by="RegisterAgent"))
KEPT = Pruned(Outcome(key="old", action=UnregisterAgent(agent_id="old"), status="failed", made_by="RegisterAgent"))


@pytest.mark.parametrize(
    ("event", "line", "facts"),
    [
        (ENDED, "gone     v  7 (MaxIdleTime); recreated", {"event": "gone", "key": "v", "id": "7", "delay": 0.0}),
        (DIED, "gone     v  7; recreated in 20 s, since it ended at once", {"event": "gone", "delay": 20.0}),
        (MADE, "made     a", {"event": "outcome", "status": "done"}),
        (LOST, "failed   a: ", {"event": "outcome", "status": "failed"}),
        (REMOVED, "removed  old", {"event": "pruned", "status": "done"}),
        (KEPT, "kept     old", {"event": "pruned", "status": "failed"}),
        (Warned("mind the gap"), "warning  mind the gap", {"event": "warning", "message": "mind the gap"}),
    ],
)
def test_maintain_says_what_happens_to_a_fleet(
    event: Any, line: str, facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _print(event, as_json=False)
    assert f"  {line}" in capsys.readouterr().out
    _print(event, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said.items() >= facts.items()
    assert said["time"] > 0


def test_what_lives_and_stands_in_no_journal_is_listed_to_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(JournalLost("it was removed", made=[("a", "1"), ("b", "2")]), as_json=True) == 1
    out, err = capsys.readouterr()
    assert [(event["event"], event.get("id")) for event in lines(out)] == [
        ("unrecorded", "1"),
        ("unrecorded", "2"),
        ("error", None),
    ]
    assert err.splitlines()[:2] == ["a  1", "b  2"]


def test_what_is_no_error_of_the_librarys_is_not_made_one_line() -> None:
    with pytest.raises(ZeroDivisionError):
        report_error(ZeroDivisionError("a mistake of ours"), as_json=False)


def test_the_problems_of_a_fleet_are_told_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    fleet = write(Path("f.jsonl"), AGENT, AGENT)
    assert main(["plan", str(fleet), "--journal", "j", "--json"]) == 2
    (problem, *_) = lines(capsys.readouterr().out)
    assert problem["event"] == "problem"
    assert main(["plan", "none.jsonl", "--journal", "j", "--json"]) == 2
    assert lines(capsys.readouterr().out)[-1]["event"] == "error"


def test_a_report_says_what_may_have_ended_and_what_was_removed_again() -> None:
    line = verdict(Report(counts={}, stale=2, rolled_back=3, pruned=1, not_pruned=1))
    assert "2 may have ended since: --refresh asks" in line
    assert "3 removed again" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["call", "ListAgents", "@none.json"], "cannot read BODY from none.json"),
        (["token", "u", "--no-publish"], "--no-publish needs --room"),
    ],
)
def test_options_that_make_no_sense_are_one_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZEGO_APP_ID", "1")
    monkeypatch.setenv("ZEGO_SERVER_SECRET", "0123456789abcdef0123456789abcdef")
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_half_an_account_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ZEGO_APP_ID", "1")
    monkeypatch.delenv("ZEGO_SERVER_SECRET", raising=False)
    assert main(["call", "QueryAgents", "{}"]) == 2
    assert "set ZEGO_SERVER_SECRET" in capsys.readouterr().err


def test_a_body_may_come_by_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ZEGO_APP_ID", "1")
    monkeypatch.setenv("ZEGO_SERVER_SECRET", "0123456789abcdef0123456789abcdef")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"AgentIds": "a"}'))
    assert main(["call", "QueryAgents", "-"]) == 2
    assert "AgentIds: must be a list" in capsys.readouterr().err
