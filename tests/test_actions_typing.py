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


def run(*command: str) -> str:
    # pyright takes packages from the first Python on PATH, which need not be the one that runs this.
    path = os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


def pyright(*paths: Path) -> dict[Path, set[int]]:
    """The lines with errors, by file."""
    found: dict[Path, set[int]] = {path: set() for path in paths}
    for item in json.loads(run("pyright", "--outputjson", *map(str, paths)))["generalDiagnostics"]:
        if item["severity"] == "error":
            found[Path(item["file"])].add(item["range"]["start"]["line"] + 1)
    return found


def mypy(*paths: Path) -> dict[Path, set[int]]:
    """The lines with errors, by file."""
    # Without a cache: one that another mypy writes at the same time makes this one say nothing.
    options = ["--strict", "--no-pretty", "--show-absolute-path", f"--cache-dir={os.devnull}"]
    found: dict[Path, set[int]] = {path: set() for path in paths}
    for path, line in re.findall(r"(?m)^(.+?):(\d+): error: ", run("mypy", *options, *map(str, paths))):
        found[Path(path)].add(int(line))
    return found


def test_every_action_is_in_the_list_of_results() -> None:
    text = (TYPING / "results.py").read_text(encoding="utf-8")
    called = re.findall(r"client\.call\(\s*(?:aiagent|digitalhuman)\.(\w+)\(", text)
    assert sorted(called) == ACTION_NAMES


@pytest.mark.slow
@pytest.mark.timeout(600)  # seconds: they look through the whole package, and a busy machine takes its time
@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_the_result_of_every_call_is_inferred_and_mistakes_are_found_where_they_are(
    checker: Callable[..., dict[Path, set[int]]], tmp_path: Path
) -> None:
    lines = (TYPING / "mistakes.py").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# mypy: ignore-errors"  # for whoever checks the whole tree
    lines[0] = ""
    mistakes = tmp_path / "mistakes.py"
    mistakes.write_text("\n".join(lines), encoding="utf-8")
    results = TYPING / "results.py"
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert checker(results, mistakes) == {results: set(), mistakes: marked}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_public_is_typed_and_explained() -> None:
    output = run("pyright", "--verifytypes", "zego_aigc", "--ignoreexternal")
    assert re.findall(r"(?m)^.* - error: .*$", output) == []
    assert "Type completeness score: 100%" in output
    assert "Functions without docstring: 0" in output
    assert "Classes without docstring: 0" in output
