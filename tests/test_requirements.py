"""What is not installed turns a test off, unless CI says that it must be there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import requirements


@pytest.fixture(autouse=True)
def nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_test_whose_program_is_absent_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEGO_AIGC_CI_REQUIRES", "redis")
    with pytest.raises(pytest.skip.Exception, match="chromium is not installed"):
        requirements.program("chromium")


def test_where_ci_requires_a_program_its_absence_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEGO_AIGC_CI_REQUIRES", "redis chromium")
    with pytest.raises(pytest.fail.Exception, match="chromium is not installed"):
        requirements.program("chromium")


def test_a_program_is_found_under_any_of_its_names_on_path_but_not_in_a_virtual_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder := tmp_path / "bin").mkdir()
    (installed := folder / "google-chrome").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(folder))
    assert requirements.program("chromium") == str(installed)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert requirements.find("chromium") is None
