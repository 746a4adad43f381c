"""The page about a web app: its app passes its tests, in files of their own as a reader has them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "web-app.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_pages_app_passes_the_pages_tests(tmp_path: Path) -> None:
    programs = re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _ in programs] == ["app", "test_app"]
    for name, source in programs:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
