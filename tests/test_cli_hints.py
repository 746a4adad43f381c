"""What the command line advises fits the state of things: of the quota, of a journal, of a sandbox that has ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_fixtures import *  # noqa: F403 - fixtures
from cli_fixtures import task, write

from zego_aigc.cli import main

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
