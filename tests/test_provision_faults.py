"""Provisioning and teardown when something fails under them: the journal, the network, the service, the clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from provision_fixtures import *  # noqa: F403 - fixtures
from provision_fixtures import ids, rows
from requests_made import stream

from zego_aigc import Client, LocalLimiter
from zego_aigc.provisioning import JournalLost, Outcome, provision
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture
async def slow(sandbox: Sandbox) -> AsyncIterator[Client]:
    """A client that makes a hundred calls a second."""
    async with sandbox.client(limiter=LocalLimiter(10, 0.1, 0.0), timeout=2.0) as made:
        yield made


# --- the journal


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_journal_that_is_removed_stops_the_run_and_all_that_was_made_is_listed(
    sandbox: Sandbox, slow: Client, journal: Path, *, replaced: bool
) -> None:
    seen: list[Outcome] = []
    with pytest.raises(JournalLost, match="was removed or replaced") as caught:  # noqa: PT012 - what comes before is kept
        async with provision(slow, [stream(str(n)) for n in range(1000)], journal=journal) as running:
            async for outcome in running:
                seen.append(outcome)
                if len(seen) == 20:
                    os.unlink(journal)  # noqa: PTH108
                    if replaced:
                        os.close(os.open(journal, os.O_CREAT))
    assert running.report.seconds < 3
    assert {made_id for _, made_id in caught.value.made} == set(sandbox.app.tasks)
    assert ids(seen) <= set(sandbox.app.tasks)
    assert all(key.startswith("CreateDigitalHumanStreamTask:stream-") for key, _ in caught.value.made)


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from zego_aigc.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
async def test_a_disk_that_fills_up_ends_the_run_with_1_and_every_id_is_in_the_journal_or_printed(
    sandbox: Sandbox, journal: Path, tmp_path: Path
) -> None:
    fleet = tmp_path / "fleet.jsonl"
    entries = [{"Action": "CreateDigitalHumanStreamTask", "Body": stream(str(n)).to_wire()} for n in range(80)]
    fleet.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    environment = {
        **os.environ,
        "ZEGO_APP_ID": str(sandbox.app_id),
        "ZEGO_SERVER_SECRET": sandbox.server_secret,
        "ZEGO_AIAGENT_URL": sandbox.url,
        "ZEGO_DIGITALHUMAN_URL": sandbox.url,
    }
    command = ["provision", str(fleet), "--journal", str(journal), "--plain"]
    full = await anyio.run_process(
        [sys.executable, "-c", FULL_DISK, "120000", *command], env=environment, check=False, stderr=subprocess.STDOUT
    )
    out = full.stdout.decode()
    assert full.returncode == 1, out
    assert "cannot be used" in out
    assert "Traceback" not in out
    known = {row["made_id"] for row in rows(journal).values()} | {word for line in out.splitlines() for word in line.split()}
    in_doubt = sum(row["status"] == "sent" for row in rows(journal).values())
    assert len(set(sandbox.app.tasks) - known) <= in_doubt
    again = await anyio.run_process([sys.executable, "-m", "zego_aigc", *command], env=environment, check=False)
    assert again.returncode == 0, "with room again"
    assert len(sandbox.app.tasks) == 80
