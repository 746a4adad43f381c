"""What is checked, in parts: ``nox --list`` names them, and ``nox`` alone is the fast loop. ``.ci/run`` runs them all.

Each part has a virtual environment of its own, which is kept in ``.nox``. What follows ``--`` goes to pytest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|venv"  # uv where there is one: most parts install the same hundred packages
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "fast"]

PYTEST = ("pytest", "-n", "4")
"""The tests mostly wait, so that there may be more workers than cores."""

RELEASE = str(Path(".ci/release.py").resolve())
"""The parts of a release that are not environments."""

FOR_CHANGES = {"test", "dev", "docs"}
"""The extras of those who change the library; the others are users'."""

EXTRAS: dict[str, list[str]] = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]


def block(heading: str) -> str:
    """The one sh block under a heading of README.md."""
    readme = Path("README.md").read_text(encoding="utf-8")
    found: list[str] = re.findall(rf"^## {heading}\n(?:(?!^## ).*\n)*?```sh\n((?:.*\n)*?)```$", readme, re.MULTILINE)
    (text,) = found
    return text


@cache
def pythons() -> list[str]:
    """The CPythons of this machine from 3.11 on, oldest first: on PATH or of pyenv, the newest of each minor version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found: list[str] = []
    for minor in range(11, 30):
        name = f"python3.{minor}"
        kept = sorted(pyenv.glob(f"3.{minor}.*/bin/{name}"), key=lambda path: [*map(int, re.findall(r"\d+", path.parts[-3]))])
        for python in (shutil.which(name), *map(str, reversed(kept))):
            # pyenv puts a program on PATH for each version that it has, whether that is active or not.
            if python and subprocess.run([python, "--version"], check=False, capture_output=True).returncode == 0:
                found.append(python)
                break
    return found or ["python3"]


def build_release(session: nox.Session, away: Path, *options: str) -> Path:
    """Build what would be released, twice, and check it. Returns the directory that it is in."""
    system = nox.project.load_toml("pyproject.toml")["build-system"]
    session.install("build", "twine", "uv", *system["requires"])
    source, dist = away / "source", away / "dist"
    for directory in (source, dist):
        directory.mkdir()
    session.run("python", RELEASE, "export", str(source), *options)
    session.run("python", RELEASE, "build", str(source), str(dist))
    session.run("python", RELEASE, "check", str(source), str(dist))
    session.run("twine", "check", "--strict", *map(str, sorted(dist.iterdir())))
    return dist


def install_alone(session: nox.Session, away: Path, python: str, wheel: Path, extra: str) -> None:
    """Install a wheel with one extra, or none, in an environment of its own, and use it."""
    home = away / f"{Path(python).name}-{extra or 'alone'}"
    inside = home / "bin" / "python"
    session.run("uv", "venv", "--quiet", "--python", python, str(home))
    session.run("uv", "pip", "install", "--quiet", "--python", str(inside), f"{wheel}[{extra}]" if extra else str(wheel))
    session.run("uv", "pip", "check", "--quiet", "--python", str(inside))
    script = shutil.copy(RELEASE, home / "release.py")  # far from the source, which must not be what is imported
    with session.chdir(home):
        session.run(str(inside), str(script), "smoke", extra, external=True)


def test_unpacked(session: nox.Session, away: Path, python: str, sdist: Path) -> None:
    """Unpack a source distribution, and run its own tests; its public API has to be just what it has stored."""
    home = away / f"{Path(python).name}-sdist"
    inside = str(home / "bin" / "python")
    shutil.unpack_archive(sdist, home / "source", filter="data")
    (source,) = (home / "source").iterdir()
    session.run("uv", "venv", "--quiet", "--python", python, "--allow-existing", str(home))
    session.run("uv", "pip", "install", "--quiet", "--python", inside, "-e", f"{source}[test]")
    # The tests run programs of their environment, before which a session would put its own.
    activated = ("env", f"PATH={home / 'bin'}{os.pathsep}{os.environ['PATH']}", f"VIRTUAL_ENV={home}")
    with session.chdir(source):
        session.run(*activated, inside, "tests/public_api.py", external=True)
        session.run(*activated, inside, "-m", *PYTEST, external=True)


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


@nox.session(python=pythons()[-1])
def coverage(session: nox.Session) -> None:
    """Which branches all tests reach."""
    # On the newest CPython here: 3.11 tells a tracer nothing of what a coroutine does once an exception was thrown into it.
    session.install("-e", ".[test]", "coverage>=7.10")
    session.run("coverage", "erase")
    # The tests of what type checkers say run nothing of the library. Whether the others pass is judged by the other parts,
    # without the weight of being measured: some promises hold at a speed of processes that it takes away.
    command = ("coverage", "run", "-m", *PYTEST, "--ignore", "tests/test_actions_typing.py", *session.posargs)
    session.run(*command, success_codes=[0, 1])
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(python=pythons()[-1], name="newest")
def newest_python(session: nox.Session) -> None:
    """The tests that take no seconds, on the newest CPython here, with the newest dependencies."""
    session.install("-e", ".[test]")
    session.run("python", "--version")
    session.run(*PYTEST, "-m", "not slow", *session.posargs)


@nox.session
def oldest(session: nox.Session) -> None:
    """The tests that take no seconds, with the oldest dependencies that are said to do."""
    needs = [*nox.project.load_toml("pyproject.toml")["project"]["dependencies"]]
    needs += [need for extra in EXTRAS for need in EXTRAS[extra] if extra not in {*FOR_CHANGES, "examples"}]
    # Its tests need the SDK that goes with the oldest API.
    needs += [need for need in EXTRAS["test"] if need.startswith("opentelemetry-sdk")]
    session.install("-e", ".[test]", *(re.sub(">=", "==", need, count=1) for need in needs))
    listing = ("uv", "pip", "freeze") if session.venv_backend == "uv" else ("pip", "list", "--format=freeze")
    session.run(*listing)
    session.run(*PYTEST, "-m", "not slow", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, built and checked."""
    session.install("-e", ".[docs]", "mypy>=1.13")
    session.run("mypy", "docs/generate_site.py", "docs/docstrings.py")
    session.run("mkdocs", "build", "--strict", "--quiet", env={"NO_MKDOCS_2_WARNING": "1"})
    session.run("python", "docs/check_site.py", "build/site")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The benchmarks still run."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "benchmarks", "--quick")


@nox.session(reuse_venv=False, venv_backend="venv")
def package(session: nox.Session) -> None:
    """What would be released is sound, and alone, far from the source, it does the job that README.md shows."""
    with TemporaryDirectory() as folder:
        away = Path(folder)
        dist = build_release(session, away, "--dirty")
        (wheel,) = dist.glob("*.whl")
        for python in (pythons()[0], pythons()[-1]):
            for extra in ("", *sorted(EXTRAS.keys() - FOR_CHANGES)):
                install_alone(session, away, python, wheel, extra)
        session.install(f"{wheel}[cli]")
        shutil.copytree("examples", away / "examples")
        job = "".join(line for line in block("Run it").splitlines(keepends=True) if not line.startswith("pip install"))
        with session.chdir(away):
            session.run("bash", "-euo", "pipefail", "-c", job, external=True)


@nox.session(reuse_venv=False, venv_backend="venv")
def release(session: nox.Session) -> None:
    """All that a release takes, publishing apart. Leaves it in dist/; with ``-- --tag``, commits and tags it, too."""
    session.run("python", RELEASE, "notes", silent=True)
    with TemporaryDirectory() as folder:
        away = Path(folder)
        dist = build_release(session, away)
        (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
        for python in pythons():
            for extra in ("", *sorted(EXTRAS.keys() - FOR_CHANGES)):
                install_alone(session, away, python, wheel, extra)
        for python in (pythons()[0], pythons()[-1]):
            test_unpacked(session, away, python, sdist)
        shutil.rmtree("dist", ignore_errors=True)
        shutil.copytree(dist, "dist")
    session.run("python", RELEASE, "tag", *(["--write"] if "--tag" in session.posargs else []))


@nox.session(reuse_venv=False, venv_backend="venv")
def test_it(session: nox.Session) -> None:
    """All tests, as README.md says."""
    session.run("bash", "-euo", "pipefail", "-c", block("Test it"), external=True)
