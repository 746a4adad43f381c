"""The Python in the documentation is what it says: programs run as printed, and what they import exists."""

from __future__ import annotations

import ast
import os
import re
import sys
from importlib import import_module
from pathlib import Path

import anyio
import pytest

from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

EXAMPLES = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
]
PROGRAMS = [example for example in EXAMPLES if "asyncio.run(" in str(example.values[0])]


@pytest.mark.parametrize("source", EXAMPLES)
def test_every_example_compiles_and_imports_what_exists(source: str) -> None:
    compile(source, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zego_aigc"):
            module = import_module(node.module or "")
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.slow
@pytest.mark.parametrize("source", PROGRAMS)
async def test_every_program_runs_as_printed(source: str, tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text(source, encoding="utf-8")
    async with Sandbox() as sandbox:
        environ = {
            **os.environ,
            "ZEGO_APP_ID": str(sandbox.app_id),
            "ZEGO_SERVER_SECRET": sandbox.server_secret,
            "ZEGO_CALLBACK_SECRET": "callback-secret",
            "ZEGO_AIAGENT_URL": sandbox.url,
            "ZEGO_DIGITALHUMAN_URL": sandbox.url,
        }
        with anyio.fail_after(30):
            done = await anyio.run_process(
                [sys.executable, "-W", "error", str(program)], env=environ, cwd=tmp_path, check=False
            )
    assert done.returncode == 0, done.stderr.decode()
