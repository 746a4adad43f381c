"""Type checkers infer the result of every call and find wrong and missing fields; nothing public is left untyped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from contract_data import ACTION_NAMES

TYPING = Path(__file__).parent / "typing"
ROOT = TYPING.parent.parent

pytest.importorskip("mypy")
pytest.importorskip("pyright")


Findings = list[tuple[int, str]]


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


def pyright(path: Path) -> Findings:
    report = json.loads(run("pyright", "--outputjson", str(path)))
    return [
        (item["range"]["start"]["line"] + 1, item["message"])
        for item in report["generalDiagnostics"]
        if item["severity"] == "error"
    ]


def mypy(path: Path) -> Findings:
    # Without a cache: one that another mypy writes at the same time makes this one say nothing.
    output = run("mypy", "--strict", "--no-pretty", "--show-absolute-path", f"--cache-dir={os.devnull}", str(path))
    return [(int(line), message) for line, message in re.findall(rf"(?m)^{re.escape(str(path))}:(\d+): error: (.*)$", output)]


def test_every_action_is_in_the_list_of_results() -> None:
    text = (TYPING / "results.py").read_text(encoding="utf-8")
    called = re.findall(r"client\.call\(\s*(?:aiagent|digitalhuman)\.(\w+)\(", text)
    assert sorted(called) == ACTION_NAMES


@pytest.mark.slow
@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_the_result_of_every_call_is_inferred(checker: Callable[[Path], Findings]) -> None:
    assert checker(TYPING / "results.py") == []


@pytest.mark.slow
@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_mistakes_are_found_where_they_are(checker: Callable[[Path], Findings], tmp_path: Path) -> None:
    lines = (TYPING / "mistakes.py").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# mypy: ignore-errors"  # for whoever checks the whole tree
    lines[0] = ""
    copy = tmp_path / "mistakes.py"
    copy.write_text("\n".join(lines), encoding="utf-8")
    found = checker(copy)
    assert {line for line, _ in found} == {number for number, line in enumerate(lines, 1) if line.endswith("# error")}, found


@pytest.mark.slow
def test_everything_public_is_typed_and_explained() -> None:
    output = run("pyright", "--verifytypes", "zego_aigc", "--ignoreexternal")
    assert re.findall(r"(?m)^.* - error: .*$", output) == []
    assert "Type completeness score: 100%" in output
    assert "Functions without docstring: 0" in output
    assert "Classes without docstring: 0" in output
