"""What is checked before a release can fail; only the repository has it, not a source distribution."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "release.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="only the repository has it")


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HEAD = "# Changelog\n\n## [Unreleased]\n"
ENTRY = "\n### Added\n\n- A thing.\n"


def test_what_is_unreleased_becomes_the_section_of_the_version(release: ModuleType) -> None:
    body, text = release.notes(f"{HEAD}{ENTRY}", "0.1.0")
    assert body == "### Added\n\n- A thing."
    assert text.startswith("# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 20")
    assert release.notes(text, "0.1.0") == (body, text), "once is enough"


@pytest.mark.parametrize(
    ("changelog", "problem"),
    {
        HEAD: "says nothing of 0.1.0",
        f"{HEAD}\n### Stuff\n\n- A thing.\n": "a section 'Stuff'; there are Added, Changed",
        f"{HEAD}{ENTRY}\n### Added\n\n- Another.\n": "sections twice or out of order: Added, Added",
        f"{HEAD}\n### Fixed\n\n- A fault.\n{ENTRY}": "sections twice or out of order: Fixed, Added",
        f"{HEAD}{ENTRY}- A thing.\n": "says twice: A thing.",
        f"{HEAD}{ENTRY}\n## [0.1.0] - 2026-11-28\n{ENTRY}": r"entries under \[Unreleased\] and under \[0.1.0\]",
    }.items(),
)
def test_a_changelog_that_is_not_fit_for_a_release_is_refused(release: ModuleType, changelog: str, problem: str) -> None:
    with pytest.raises(release.Unsound, match=problem):
        release.notes(changelog, "0.1.0")


def test_files_that_are_missing_or_should_not_be_there_are_named(release: ModuleType, tmp_path: Path) -> None:
    (source := tmp_path / "source").mkdir()
    (dist := tmp_path / "dist").mkdir()
    for name in ("zego_aigc/client.py", "zego_aigc/forgotten.py", "docs/README.md", ".ci/run"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).touch()
    info = f"zego_aigc-{release.version()}.dist-info"
    with zipfile.ZipFile(dist / "x.whl", "w") as wheel:
        for name in ("METADATA", "WHEEL", "entry_points.txt", "RECORD", "licenses/LICENSE"):
            wheel.writestr(f"{info}/{name}", "")
        wheel.writestr("zego_aigc/client.py", "")
        wheel.writestr("notes.txt", "")
    with tarfile.open(dist / "x.tar.gz", "w:gz") as sdist:
        for name in ("zego_aigc/client.py", "zego_aigc/forgotten.py", ".ci/run"):
            sdist.add(source / name, f"x/{name}")
    assert [*release._content_problems(source, dist)] == [
        "the wheel lacks zego_aigc/forgotten.py",
        "the wheel has notes.txt, which it should not",
        "the source distribution lacks PKG-INFO, docs/README.md",
        "the source distribution has .ci/run, which it should not",
    ]


def test_a_version_is_tagged_once(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / "zego_aigc").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    (tmp_path / "zego_aigc" / "_version.py").write_text('__version__ = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"{HEAD}{ENTRY}")

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}  # whoever runs this may sign all that they commit
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    run("git", "init", "--quiet")
    run("git", "config", "user.name", "Tests")
    run("git", "config", "user.email", "tests@localhost")
    run("git", "add", ".")
    run("git", "commit", "--quiet", "--message", "First")
    tag = sys.executable, str(tmp_path / ".ci" / "release.py"), "tag", "--write"
    assert run(*tag).returncode == 0
    assert run("git", "tag").stdout == "v0.1.0\n"
    assert "## [0.1.0] - 20" in run("git", "show", "v0.1.0:CHANGELOG.md").stdout
    again = run(*tag)
    assert (again.returncode, again.stderr) == (1, "v0.1.0 is tagged already: raise the version in zego_aigc/_version.py\n")
    assert run("git", "log", "--format=%s").stdout == "Release 0.1.0\nFirst\n"
