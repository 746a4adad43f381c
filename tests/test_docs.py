"""README.md and docs/ are as they say: their programs are complete and run twice in one sandbox, their links lead somewhere."""

from __future__ import annotations

import gc
import importlib
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from zego_aigc.sandbox import LiveSandbox, Pace, Sandbox

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^(<!-- test: \w+ -->\n)?```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""What a comment names is run by the test of that page: it needs a server or a framework around it."""

BLOCKS = {
    f"{page.relative_to(ROOT).as_posix()}-{number}": source
    for page in PAGES
    for number, (elsewhere, source) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
    if not elsewhere
}
TESTS = {name: source for name, source in BLOCKS.items() if re.search(r"^\s*(async )?def test_", source, re.MULTILINE)}
PROGRAMS = {name: source for name, source in BLOCKS.items() if name not in TESTS}
COOKBOOK = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples" / "cookbook").glob("*.py"))}

PYTEST_INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"


def environment(sandbox: Sandbox) -> dict[str, str]:
    return {
        **os.environ,
        "ZEGO_APP_ID": str(sandbox.app_id),
        "ZEGO_SERVER_SECRET": sandbox.server_secret,
        "ZEGO_CALLBACK_SECRET": "callback-secret",
        "ZEGO_AIAGENT_URL": sandbox.url,
        "ZEGO_DIGITALHUMAN_URL": sandbox.url,
    }


def live(sandbox: Sandbox) -> list[str]:
    """What would go on billing."""
    return [*sandbox.app.instances, *(task.task_id for task in sandbox.app.tasks.values() if task.running)]


@pytest.fixture
def zego_sandbox_settings() -> dict[str, Any]:
    """A service that is quicker than the real one, and does not mind two runs within a second."""
    return {"pace": Pace(join=0.01, stream_start=0, stream_stop=0, think=0.01, character=0.001, audio=0.01), "rate_limit": 100}


def marks(source: str) -> list[pytest.MarkDecorator]:
    """Fleets, sandboxes as slow as the service, more calls than go at once, speech, and other processes take seconds."""
    takes_seconds = r"\b((provision|maintain|Sandbox|TaskGroup|create_subprocess_exec)\(|asyncio\.sleep\([1-9])"
    return [pytest.mark.slow] if re.search(takes_seconds, source) else []


@pytest.mark.parametrize(
    "source", [pytest.param(source, id=name, marks=marks(source)) for name, source in {**PROGRAMS, **COOKBOOK}.items()]
)
def test_every_program_runs_twice_and_leaves_nothing_that_bills(
    source: str,
    zego_live_sandbox: LiveSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in zego_live_sandbox.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (program := tmp_path / "program.py").write_text(source, encoding="utf-8")
    for _ in range(2):  # one that runs only once has left something behind, or counts on what it finds
        runpy.run_path(str(program), run_name="__main__")
        assert capsys.readouterr().out or source not in COOKBOOK.values(), "a program for a task shows that it has done it"
    gc.collect()  # what was not closed says so
    assert zego_live_sandbox.call(live) == []


@pytest.mark.slow
async def test_every_test_that_a_page_shows_passes(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(PYTEST_INI)
    for number, source in enumerate(TESTS.values()):
        (tmp_path / f"test_{number}.py").write_text(source, encoding="utf-8")
    async with Sandbox() as sandbox:
        with anyio.fail_after(100):
            done = await anyio.run_process(
                [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
                env=environment(sandbox),
                cwd=tmp_path,
                check=False,
            )
    assert done.returncode == 0, "\n".join((*TESTS, (done.stdout + done.stderr).decode()))


@pytest.mark.slow
async def test_the_cell_of_a_notebook_runs_where_a_loop_runs_already() -> None:
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    cell = page.partition("<!-- test: notebook -->\n```python\n")[2].partition("```")[0]
    async with Sandbox() as sandbox:
        with anyio.fail_after(100):
            done = await anyio.run_process(
                [sys.executable, "-W", "error", "-m", "asyncio"], input=cell.encode(), env=environment(sandbox), check=False
            )
    assert b"0 agents are registered" in done.stdout, done.stderr.decode()
    assert b"Traceback" not in done.stderr, done.stderr.decode()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="bash")
async def test_a_fleet_that_is_killed_goes_on_as_the_readme_shows(tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Kill it, and go on\n")[2]
    killed, others = section.partition("```sh\n")[2].partition("```")[0].split("\n", 1)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    async with Sandbox(quota=100) as sandbox:
        environ = environment(sandbox)
        environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
        # No instance is in flight as it is killed, which nothing could look up: all wait for their agents.
        sandbox.faults.on("RegisterAgent").stall_after_work()
        with anyio.fail_after(100):
            await anyio.run_process(["bash", "-c", killed], env=environ, cwd=tmp_path, check=False)
            sandbox.faults.clear()
            done = await anyio.run_process(["bash", "-c", others], env=environ, cwd=tmp_path, check=False)
        made = len(list(sandbox.recording.select("CreateDigitalHumanStreamTask", refused=False)))
        left = live(sandbox)
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, output
    assert "150 of 150 done" in output
    assert made == 50, "nothing is made twice"
    assert left == []


LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")


def targets(page: Path) -> Iterator[str]:
    """Where a page's links lead, but for addresses on the web."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    yield from (target for target in LINK.findall(text) if "://" not in target)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings and its own tags have."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    for target in targets(page):
        path, _, anchor = target.partition("#")
        file = page if not path else page.parent / path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


NAMED = re.compile(r"`((?:zego_aigc|tests|docs|examples|benchmarks|\.ci)/[\w./-]*)`")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = {name for name in NAMED.findall(page.read_text(encoding="utf-8")) if "NAME" not in name}
    if not (ROOT / ".ci").exists():  # in a source distribution
        named = {name for name in named if not name.startswith(".ci/")}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_readme_has_one_block_of_commands_under_each_heading_that_others_run() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for heading in ("Run it", "Test it"):
        section = re.split(r"^## ", text.partition(f"## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
        assert [line for line in section.splitlines() if line.startswith("```")] == ["```sh", "```"]
        (block,) = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        assert subprocess.run(["bash", "-n", "-c", block], check=False).returncode == 0


def test_drawings_are_as_their_script_draws_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    drawings = importlib.import_module("generate_drawings").drawings()
    drawn = {name: drawing.svg() for name, drawing in drawings}
    stored = {name: (ROOT / "docs" / "images" / name).read_text(encoding="utf-8") for name in drawn}
    assert drawn == stored, "run python docs/generate_drawings.py"
