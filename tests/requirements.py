"""Programs that tests use and pip does not install: where one is absent a test is skipped, in CI it fails.

``ZEGO_AIGC_CI_REQUIRES`` names what must be there, for example ``redis chromium``. ``.ci/run`` installs the programs and sets
the variable, so that a package that has gone from the archive cannot turn tests off in silence.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["PROGRAMS", "absent", "find", "program", "required"]

PROGRAMS = {
    "redis": ("redis-server",),
    "valkey": ("valkey-server",),
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "chromedriver": ("chromedriver",),
}
"""The names under which each may be installed."""


def find(name: str) -> str | None:
    """The path of an installed program. What a Python package ships does not count."""
    ours = {Path(sys.executable).parent, Path(sys.prefix) / "bin"}
    folders = os.pathsep.join(folder for folder in os.get_exec_path() if Path(folder) not in ours)
    return next((path for each in PROGRAMS[name] if (path := shutil.which(each, path=folders))), None)


def required() -> frozenset[str]:
    """What CI says must be there."""
    return frozenset(os.environ.get("ZEGO_AIGC_CI_REQUIRES", "").split())


def program(name: str) -> str:
    """The path of an installed program; the test is skipped where it is absent, and fails if CI requires it."""
    if not (path := find(name)):
        absent(name, f"{name} is not installed (looked for {', '.join(PROGRAMS[name])} on PATH)")
    return path


def absent(name: str, missing: str) -> NoReturn:
    """Skip the test for want of something, or fail if CI requires it."""
    if name in required():
        pytest.fail(f"{missing}, and ZEGO_AIGC_CI_REQUIRES names {name}")
    pytest.skip(missing)
