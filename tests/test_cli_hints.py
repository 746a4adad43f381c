"""What the command line advises fits the state of things: of the quota, of a journal, of a sandbox that has ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_fixtures import *  # noqa: F403 - fixtures
from cli_fixtures import task, write

from zego_aigc.cli import main
from zego_aigc.cli._next import next_steps

TRIAL = ["provision", "f.jsonl", "--journal", "try.journal", "--sandbox"]


@pytest.mark.parametrize("quota", [12, 100])
def test_a_sandbox_whose_quota_covers_the_fleet_brings_no_advice_about_quotas(
    quota: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("f.jsonl"), *(task(f"s{n}") for n in range(12)))
    assert main([*TRIAL, "--quota", str(quota)]) == 0
    assert "asked for" not in capsys.readouterr().err


def test_a_sandbox_whose_quota_does_not_cover_the_fleet_brings_advice_with_that_quota(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(Path("f.jsonl"), *(task(f"s{n}") for n in range(3)))
    assert main([*TRIAL, "--quota", "2", "--on-quota", "fail"]) == 1
    err = capsys.readouterr().err
    assert "3 streams are asked for; the quota is 2: what finds no place waits (--on-quota, --quota-wait)" in err
    assert "accounts start with" not in err


# --- after a trial in a sandbox inside the command


def test_status_advises_nothing_that_a_sandbox_which_has_ended_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("f.jsonl"), task("s"))
    assert main([*TRIAL]) == 0
    capsys.readouterr()
    assert main(["status", "try.journal"]) == 0
    out, err = capsys.readouterr()
    assert "nothing of this exists any more" in out
    assert "next: nothing is to be done: this was a trial" in err
    assert "teardown" not in err
    assert "provision" not in err


def test_status_does_not_have_failed_entries_of_a_sandbox_that_has_ended_tried_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(Path("f.jsonl"), *(task(f"s{n}") for n in range(3)))
    assert main([*TRIAL, "--quota", "2", "--on-quota", "fail"]) == 1
    capsys.readouterr()
    assert main(["status", "try.journal"]) == 1
    assert capsys.readouterr().err.startswith("next: nothing is to be done")
    (running,) = next_steps({"failed": 1}, "j", running=True, until=None, in_sandbox=True)
    assert "goes on where" not in running


def test_where_a_trial_is_advised_another_needs_another_journal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    err = capsys.readouterr().err
    assert "provision fleet.toml --journal try.journal --sandbox\n" in err
    assert "each trial needs a new journal" in err
    assert "provision fleet.toml --journal fleet.journal\n" in err
    with pytest.raises(SystemExit):
        main(["provision", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "each trial needs a journal of its own" in told
    assert main(["provision", "fleet.toml", "--journal", "j"]) == 2
    said = capsys.readouterr().err
    assert "or add --sandbox, for one that lives as long as this command, with a journal for the trial alone" in said


# --- where a part was removed


def test_status_says_that_only_a_part_was_removed(sandbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    del sandbox
    write(Path("f.jsonl"), task("a"), task("b"))
    assert main(["provision", "f.jsonl", "--journal", "j"]) == 0
    assert main(["teardown", "j", "--only", "CreateDigitalHumanStreamTask:a"]) == 0
    capsys.readouterr()
    assert main(["status", "j"]) == 0
    out, err = capsys.readouterr()
    assert "1 done, 1 removed" in out
    assert "removed in part: zego-aigc teardown j removes the rest, too" in err
    assert "all is done" not in err
    assert main(["teardown", "j"]) == 0
    capsys.readouterr()
    assert main(["status", "j"]) == 0
    assert "in part" not in capsys.readouterr().err


# --- no command at all


def test_without_a_command_the_help_is_printed_as_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: zego-aigc")
    assert "teardown" in err
    assert "required: COMMAND" not in err


# --- fields of a fleet in the wrong place


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('AgentId = "a"', "AgentId: is a field of RegisterAgent, not of the entry: put it into Body"),
        ("Cuont = 3", "Cuont: is not a field of an entry; did you mean Count?"),
        ('Row = "rooms.csv"', "Row: is not a field of an entry; did you mean Rows?"),
        ("Aftr = []", "Aftr: is not a field of an entry; did you mean After?"),
    ],
)
def test_a_field_in_the_wrong_place_is_told_where_it_belongs(entry: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("f.toml").write_text(f'[[fleet]]\nAction = "RegisterAgent"\n{entry}\n[fleet.Body]\nName = "Guide"\n')
    assert main(["plan", "f.toml", "--journal", "j"]) == 2
    assert f"f.toml:1 (entry 1): {said}" in capsys.readouterr().err


def test_a_field_of_the_request_beside_the_action_of_a_json_line_belongs_into_body(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(Path("f.jsonl"), {"Action": "RegisterAgent", "AgentId": "a"})
    assert main(["plan", "f.jsonl", "--journal", "j"]) == 2
    assert "f.jsonl:1: AgentId: is a field of RegisterAgent, not of the entry: put it into Body" in capsys.readouterr().err
