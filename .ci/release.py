"""What a release consists of, and whether it is sound: the parts of ``nox -s release`` that are not environments.

Nothing here publishes anything. ``python .ci/release.py --help`` lists the parts; each ends with status 1 and a sentence if
something is not as it should be.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAME = "zego_aigc"

KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""Sections of a version in the changelog, in the order of Keep a Changelog."""

NOT_SHIPPED = {".ci", ".pre-commit-config.yaml"}
"""What the repository has and the source distribution has not."""

MAX_SDIST = 3 << 20
"""Bytes; more would mean that something has come in by accident."""


class Unsound(Exception):
    """Something is not as a release needs it."""


def version() -> str:
    """The version that the tree says it is."""
    found = re.search(r'__version__ = "([^"]+)"', (ROOT / NAME / "_version.py").read_text(encoding="utf-8"))
    if found is None:
        raise Unsound("zego_aigc/_version.py names no version")
    return found[1]


# --- the changelog


def notes(text: str, release: str) -> tuple[str, str]:
    """The notes of a release, and the changelog in which they stand under its number.

    Args:
        text: the changelog.
        release: the version. Unless it has a section of its own, what is unreleased becomes it.

    Raises:
        Unsound: there are none, or they are not in the form of Keep a Changelog.
    """
    sections = dict(re.findall(r"^## \[([^\]]+)\][^\n]*\n(.*?)(?=^## \[|\Z)", text, re.MULTILINE | re.DOTALL))
    if release not in sections:
        heading = f"## [Unreleased]\n\n## [{release}] - {datetime.now(UTC):%Y-%m-%d}\n"
        return notes(text.replace("## [Unreleased]\n", heading, 1), release)
    if sections.get("Unreleased", "").strip():
        raise Unsound(f"CHANGELOG.md has entries under [Unreleased] and under [{release}]: put all into one of them")
    body = sections[release].strip()
    kinds = re.findall(r"^### (.+)$", body, re.MULTILINE)
    entries = re.findall(r"^- (.+)$", body, re.MULTILINE)
    if not entries or not kinds:
        raise Unsound(f"CHANGELOG.md says nothing of {release}")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise Unsound(f"CHANGELOG.md has a section {unknown[0]!r}; there are {', '.join(KINDS)}")
    if kinds != sorted(set(kinds), key=KINDS.index):
        raise Unsound(f"CHANGELOG.md has its sections twice or out of order: {', '.join(kinds)}; they are {', '.join(KINDS)}")
    if twice := {entry for entry in entries if entries.count(entry) > 1}:
        raise Unsound(f"CHANGELOG.md says twice: {min(twice)}")
    return body, text


# --- building


def export(target: Path, *, dirty: bool) -> None:
    """Write the tree that is to be released: the last commit, with the changelog under the version's number.

    Args:
        target: an empty directory.
        dirty: take the working tree's tracked files in the place of the commit's.

    Raises:
        Unsound: something is not committed.
    """
    if dirty:
        listed = _git("ls-files", "-z").decode().split("\0")
        for name in filter(None, listed):
            if (ROOT / name).exists():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).write_bytes((ROOT / name).read_bytes())
                (target / name).chmod((ROOT / name).stat().st_mode & 0o777)
    else:
        if changed := _git("status", "--porcelain").decode().splitlines():
            raise Unsound(f"commit first: {len(changed)} files are not as in the last commit, such as {changed[0][3:]}")
        with tarfile.open(fileobj=io.BytesIO(_git("archive", "HEAD"))) as archive:
            archive.extractall(target, filter="data")
    changelog = target / "CHANGELOG.md"
    _, text = notes(changelog.read_text(encoding="utf-8"), version())
    changelog.write_text(text, encoding="utf-8")


def build(source: Path, target: Path) -> None:
    """Build sdist and wheel twice, under circumstances that differ, and the wheel once more from the sdist: all the same bytes.

    Raises:
        Unsound: they are not.
    """
    moment = _git("log", "-1", "--format=%ct", "HEAD").decode().strip()
    with tempfile.TemporaryDirectory() as scratch:
        elsewhere = Path(scratch) / "a longer name" / "source"
        _copy(source, elsewhere)
        _build(source, target, moment, {"TZ": "UTC", "LC_ALL": "C"})
        _build(elsewhere, Path(scratch) / "again", moment, {"TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8"}, umask=0o077)
        sdist, _ = files(target)
        with tarfile.open(sdist) as archive:
            archive.extractall(Path(scratch) / "unpacked", filter="data")
        (unpacked,) = (Path(scratch) / "unpacked").iterdir()
        _build(unpacked, Path(scratch) / "from the sdist", moment, {}, kinds=("wheel",))
        for built in files(target):
            for other in ("again", "from the sdist"):
                same = Path(scratch) / other / built.name
                if same.exists() and same.read_bytes() != built.read_bytes():
                    raise Unsound(f"{built.name} is not reproducible: built {other}, it has other bytes")
    for built in files(target):
        print(f"{hashlib.sha256(built.read_bytes()).hexdigest()}  {built.name}  {built.stat().st_size:,} bytes, the same twice")


def _build(
    source: Path,
    target: Path,
    moment: str,
    env: dict[str, str],
    *,
    umask: int = 0o022,
    kinds: tuple[str, ...] = ("sdist", "wheel"),
) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(
        [*command, *(f"--{kind}" for kind in kinds)],
        env={**os.environ, "SOURCE_DATE_EPOCH": moment, **env},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unsound(f"it cannot be built:\n{done.stdout}{done.stderr}")


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(path.stat().st_mode & 0o777)


def files(target: Path) -> tuple[Path, Path]:
    """The sdist and the wheel in a directory."""
    (sdist,), (wheel,) = target.glob("*.tar.gz"), target.glob("*.whl")
    return sdist, wheel


# --- what was built


def check(source: Path, target: Path) -> None:
    """Check metadata and contents of what was built.

    Raises:
        Unsound: with all that is wrong.
    """
    problems = [*_metadata_problems(target), *_content_problems(source, target)]
    if problems:
        raise Unsound("\n".join(problems))
    print(f"metadata and contents of {NAME} {version()} are as declared")


def metadata(wheel: Path) -> Message:
    """The metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def _metadata_problems(target: Path) -> Iterator[str]:
    sdist, wheel = files(target)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = metadata(wheel)
    expected = {
        "Name": NAME,
        "Version": version(),
        "Summary": project["description"],
        "Requires-Python": project["requires-python"],
        "License-Expression": project["license"],
        "Description-Content-Type": "text/markdown",
    }
    for field, value in expected.items():
        if found[field] != value:
            yield f"{field} is {found[field]!r} in the metadata, and should be {value!r}"
    if extras := set(project["optional-dependencies"]) ^ set(found.get_all("Provides-Extra", [])):
        yield f"extras that are declared or built, but not both: {', '.join(sorted(extras))}"
    if links := re.findall(r"\]\((?!https:|#)[^)]*\)", str(found.get_payload())):
        yield f"the package's page would have links that lead nowhere: {', '.join(links)}"
    with tarfile.open(sdist) as archive:
        (info,) = (name for name in archive.getnames() if name.count("/") == 1 and name.endswith("/PKG-INFO"))
        member = archive.extractfile(info)
        with zipfile.ZipFile(wheel) as built:
            (other,) = (name for name in built.namelist() if name.endswith(".dist-info/METADATA"))
            if member is None or member.read() != built.read(other):
                yield "sdist and wheel have different metadata"


def _content_problems(source: Path, target: Path) -> Iterator[str]:
    sdist, wheel = files(target)
    tree = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    info = f"{NAME}-{version()}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    should = {name for name in tree if name.startswith(f"{NAME}/")}
    should |= {f"{info}/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt", "RECORD", "licenses/LICENSE")}
    yield from _difference("wheel", inside, should)
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    should = {name for name in tree if name.partition("/")[0] not in NOT_SHIPPED} | {"PKG-INFO"}
    yield from _difference("source distribution", inside, should)
    if (size := sdist.stat().st_size) > MAX_SDIST:
        yield f"the source distribution has {size:,} bytes; {MAX_SDIST:,} are enough"


def _difference(what: str, inside: set[str], should: set[str]) -> Iterator[str]:
    if lacking := sorted(should - inside):
        yield f"the {what} lacks {', '.join(lacking)}"
    if more := sorted(inside - should):
        yield f"the {what} has {', '.join(more)}, which it should not"


# --- an extra, in an environment that has the wheel and that extra


SMOKE = {
    "": "",
    "audio": "import numpy, soxr; assert len(soxr.resample(numpy.zeros(480), 48000, 16000)) == 160",
    "cli": "import argcomplete, cryptography, dotenv, rich",
    "dotenv": "open('smoke.env', 'w').write('ZEGO_APP_ID=1\\nZEGO_SERVER_SECRET=abc\\nZEGO_REGION=hkg')\n"
    "assert 'hkg' in Client.from_env(env_file='smoke.env').hosts['aiagent']",
    "examples": "import fastapi, openai, uvicorn, redis, cryptography",
    "otel": "import zego_aigc.otel",
    "redis": "from zego_aigc.redis import RedisLimiter; RedisLimiter('redis://127.0.0.1:1/0')",
    "token": "from zego_aigc.tokens import token04; assert token04(1, 'u', 's' * 32, ttl=60).startswith('04')",
}
"""What shows that an extra brings what it is for."""

FIRST_CALL = """
import asyncio, zego_aigc
from zego_aigc import Client
from zego_aigc.aiagent import ListAgents
from zego_aigc.sandbox import Sandbox

async def main():
    async with Sandbox() as sandbox, sandbox.client() as client:
        assert (await client.call(ListAgents())).agents == []

asyncio.run(main())
"""
"""What works without any."""


def smoke(extra: str) -> None:
    """Use an extra, in the environment of the interpreter that runs this."""
    exec(FIRST_CALL + SMOKE[extra], {})  # noqa: S102 - it is ours


# --- the end


def tag(*, write: bool) -> None:
    """Commit the changelog under the version's number and tag that, or say how."""
    release = version()
    changelog = ROOT / "CHANGELOG.md"
    _, text = notes(changelog.read_text(encoding="utf-8"), release)
    if _git("tag", "--list", f"v{release}"):
        raise Unsound(f"v{release} is tagged already: raise the version in zego_aigc/_version.py")
    if not write:
        print(f"dist/ has what {release} would be; nothing was tagged. To do so: nox -s release -- --tag")
        return
    changelog.write_text(text, encoding="utf-8")
    _git("commit", "--allow-empty", "--message", f"Release {release}", "CHANGELOG.md")
    _git("tag", "--annotate", f"v{release}", "--message", f"{NAME} {release}")
    print(f"v{release} is committed and tagged here, and dist/ has its files; nothing was published")


# --- the command line of this script


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def main() -> int:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("version", help="print the version")
    parts.add_parser("notes", help="check the changelog, and print the notes of the release")
    command = parts.add_parser("export", help="write the tree that is to be released")
    command.add_argument("target", type=Path)
    command.add_argument("--dirty", action="store_true", help="of the working tree, not of the last commit")
    for name, words in (("build", "build it twice"), ("check", "check what was built")):
        command = parts.add_parser(name, help=words)
        command.add_argument("source", type=Path)
        command.add_argument("target", type=Path)
    command = parts.add_parser("tag", help="commit and tag it")
    command.add_argument("--write", action="store_true", help="do so; otherwise say how")
    parts.add_parser("smoke", help="use an extra").add_argument("extra", choices=SMOKE)
    options = parser.parse_args()
    try:
        match options.part:
            case "version":
                print(version())
            case "notes":
                print(notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version())[0])
            case "export":
                export(options.target, dirty=options.dirty)
            case "build":
                build(options.source, options.target)
            case "check":
                check(options.source, options.target)
            case "tag":
                tag(write=options.write)
            case _:
                smoke(options.extra)
    except Unsound as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
