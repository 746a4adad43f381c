"""What is checked, in parts: ``nox --list`` names them, and ``nox`` alone is the fast loop. ``.ci/run`` runs them all.

Each part has a virtual environment of its own, which is kept in ``.nox``. What follows ``--`` goes to pytest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from functools import cache
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "fast"]

PYTEST = ("pytest", "-n", "4")
"""The tests mostly wait, so that there may be more workers than cores."""


def block(heading: str) -> str:
    """The one sh block under a heading of README.md."""
    readme = Path("README.md").read_text(encoding="utf-8")
    found: list[str] = re.findall(rf"^## {heading}\n(?:(?!^## ).*\n)*?```sh\n((?:.*\n)*?)```$", readme, re.MULTILINE)
    (text,) = found
    return text


def metadata(wheel: Path) -> str:
    """What the package's page is made of."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name).decode()


@cache
def newest() -> str:
    """The newest CPython of this machine, on PATH or of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for minor in range(20, 10, -1):
        name = f"python3.{minor}"
        for python in (shutil.which(name), *map(str, sorted(pyenv.glob(f"3.{minor}.*/bin/{name}"), reverse=True))):
            # pyenv puts a program on PATH for each version that it has, whether that is active or not.
            if python and subprocess.run([python, "--version"], check=False, capture_output=True).returncode == 0:
                return python
    return "python3"


@nox.session
def fast(session: nox.Session) -> None:
    """The tests that take no seconds."""
    session.install("-e", ".[test]")
    session.run(*PYTEST, "-m", "not slow", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and form."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, and that everything public is typed."""
    session.install("-e", ".[dev]")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "zego_aigc", "--ignoreexternal")


@nox.session
def coverage(session: nox.Session) -> None:
    """Which branches all tests reach."""
    session.install("-e", ".[test]", "coverage>=7.10")
    session.run("coverage", "erase")
    # Whether the tests pass is judged without the weight of being measured, by the other parts.
    session.run("coverage", "run", "-m", *PYTEST, *session.posargs, success_codes=[0, 1])
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(python=newest(), name="newest")
def newest_python(session: nox.Session) -> None:
    """The tests that take no seconds, on the newest CPython here, with the newest dependencies."""
    session.install("-e", ".[test]")
    session.run("python", "--version")
    session.run(*PYTEST, "-m", "not slow", *session.posargs)


@nox.session
def oldest(session: nox.Session) -> None:
    """The tests that take no seconds, with the oldest dependencies that are said to do."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    needs = [*project["dependencies"]]
    needs += [need for extra in extras for need in extras[extra] if extra not in {"test", "dev", "docs", "examples"}]
    # Its tests need the SDK that goes with the oldest API.
    needs += [need for need in extras["test"] if need.startswith("opentelemetry-sdk")]
    session.install("-e", ".[test]", *(re.sub(">=", "==", need, count=1) for need in needs))
    session.run("pip", "list", "--format=freeze")
    session.run(*PYTEST, "-m", "not slow", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, built and checked."""
    session.install("-e", ".[docs]", "mypy>=1.13")
    session.run("mypy", "docs/generate_site.py", "docs/sphinx_roles.py")
    session.run("mkdocs", "build", "--strict", "--quiet", env={"NO_MKDOCS_2_WARNING": "1"})
    session.run("python", "docs/check_site.py", "build/site")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The benchmarks still run."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "benchmarks", "--quick")


@nox.session(reuse_venv=False)
def package(session: nox.Session) -> None:
    """The wheel, alone in an environment and far from the source, does the job that README.md shows."""
    away = Path(session.create_tmp())
    session.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(away), ".")
    (wheel,) = away.glob("*.whl")
    if links := re.findall(r"\]\((?!https:|#)[^)]*\)", metadata(wheel)):
        session.error(f"the package's page would have links that lead nowhere: {links}")
    session.install(f"{wheel}[cli]")
    shutil.copytree("examples", away / "examples")
    job = "".join(line for line in block("Run it").splitlines(keepends=True) if not line.startswith("pip install"))
    session.chdir(away)
    session.run("bash", "-euo", "pipefail", "-c", job, external=True)


@nox.session(reuse_venv=False)
def test_it(session: nox.Session) -> None:
    """All tests, as README.md says."""
    session.run("bash", "-euo", "pipefail", "-c", block("Test it"), external=True)
