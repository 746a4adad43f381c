"""The journal: durable before anything is sent, whatever is cut off it, and never used for what it does not belong to."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from provision_fixtures import content

from zego_aigc import LocalLimiter
from zego_aigc.aiagent import RegisterAgent
from zego_aigc.provisioning import JournalBusy, JournalError, plan
from zego_aigc.provisioning.cooldown import Ended, pause, tag
from zego_aigc.provisioning.journal import Journal, _bring_in_log
from zego_aigc.provisioning.journal_file import APPLICATION_ID, SCHEMA, Target
from zego_aigc.provisioning.journal_reader import read_journal
from zego_aigc.provisioning.journal_update import Block, Effects, JournalUpdate, Release
from zego_aigc.provisioning.lock import Lock, _held, _try_lock, is_locked

pytestmark = pytest.mark.anyio

HERE = Target(1, {"aiagent": "http://here", "digitalhuman": "http://here"})
LIMITER = LocalLimiter()
KEYS = [f"k{n}" for n in range(4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.journal"


async def begun(path: Path, target: Target = HERE) -> Journal:
    journal = await Journal.open(path)
    journal.require(target)
    await journal.begin(target)
    return journal


async def with_entries(path: Path) -> Journal:
    journal = await begun(path)
    await journal.run_in_transaction(
        lambda connection: (
            connection.executemany(
                "INSERT OR IGNORE INTO journal.entries (key, digest, action) VALUES (?, 'd', 'RegisterAgent')",
                [(key,) for key in KEYS],
            )
            and None
        )
    )
    return journal


def born(path: Path, begin: bytes | None) -> None:
    """A file of these bytes, or one of SQLite without any tables."""
    if begin is not None:
        path.write_bytes(begin)
        return
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def files(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir())


def statuses(path: Path) -> dict[str, str]:
    with read_journal(path) as reading:
        return {row.key: row.status for row in reading.rows()}


def execute(statement: str) -> Callable[[sqlite3.Connection], list[Any]]:
    return lambda connection: connection.execute(statement).fetchall()


async def with_plan(path: Path, edges: Sequence[tuple[int, int]]) -> Journal:
    """A journal with a plan of as many entries, in which some wait for others."""
    journal = await with_entries(path)
    body = plan.pack(RegisterAgent(agent_id="a"))
    entries = [
        plan.Planned(seq, "", key, "d", "RegisterAgent", None, None, None, None, None, None, "{}", body, ())
        for seq, key in enumerate(KEYS, 1)
    ]

    def make(connection: sqlite3.Connection) -> None:
        plan.create(connection)
        plan.add(connection, entries)
        plan.build_indexes(connection)
        connection.executemany("INSERT INTO edges VALUES (?, ?)", edges)
        plan.adopt(connection)

    await journal.run_in_transaction(make)
    return journal


Seen = tuple[Effects, JournalError | None]


def observer(seen: list[Seen]) -> Callable[[JournalUpdate, Effects, JournalError | None], None]:
    """A `done` that keeps in `seen` what it is called with."""

    def done(_: JournalUpdate, effects: Effects, error: JournalError | None) -> None:
        seen.append((effects, error))

    return done


async def test_an_attempt_and_its_outcome_are_there_once_they_are_awaited(path: Path) -> None:
    journal = await with_entries(path)
    await journal.record_attempt("k0", now=1.0)
    await journal.record_attempt("k0", now=2.0)
    await journal.record_attempt("k1", now=3.0)
    journal.record_outcome(JournalUpdate("k1", "done", 4.0, made_id="id", result={"TaskId": "id"}))
    await journal.flush()
    with read_journal(path) as reading:
        first, second, *_ = reading.rows()
    assert (first.status, first.attempts, first.first_sent, first.last_sent) == ("sent", 2, 1.0, 2.0)
    assert (second.status, second.made_id, second.result, second.recorded) == ("done", "id", '{"TaskId":"id"}', 4.0)
    await journal.close(LIMITER)


async def test_it_is_one_plain_file_once_closed_and_cannot_be_read_by_others(path: Path) -> None:
    journal = await with_entries(path)
    await journal.close(LIMITER)
    await journal.close(LIMITER)
    assert files(path) == [path.name]


async def test_commits_are_shared_by_those_who_ask_at_a_time(path: Path) -> None:
    journal = await with_entries(path)
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    await journal.run_alone(lambda connection: connection.set_trace_callback(count))
    await asyncio.gather(*(journal.record_attempt(KEYS[n % 4], now=float(n)) for n in range(400)))
    assert commits < 40
    await journal.close(LIMITER)


async def test_an_outcome_is_durable_no_later_than_an_attempt_that_was_recorded_after_it(path: Path) -> None:
    """So whoever waits for its next attempt alone leaves no more than one entry in doubt."""
    journal = await with_entries(path)
    await journal.record_attempt("k0", now=1.0)
    gate = threading.Event()
    busy = asyncio.create_task(journal.run_in_transaction(lambda _: gate.wait(60)))
    await asyncio.sleep(0)
    seen: list[Seen] = []
    journal.record_outcome(JournalUpdate("k0", "done", 2.0, done=observer(seen)))
    await asyncio.sleep(0)
    assert not seen
    attempt = journal.record_attempt("k1", now=3.0)
    gate.set()
    await attempt
    assert seen
    assert (statuses(path)["k0"], statuses(path)["k1"]) == ("done", "sent")
    await busy
    await journal.close(LIMITER)


async def test_an_entry_may_be_done_with_and_sent_again_in_one_turn(path: Path) -> None:
    journal = await with_entries(path)
    await journal.record_attempt("k0", now=1.0)
    journal.record_outcome(JournalUpdate("k0", "pending", 2.0))
    await journal.record_attempt("k0", now=3.0)
    with read_journal(path) as reading:
        row, *_ = reading.rows()
    assert (row.status, row.attempts, row.first_sent) == ("sent", 2, 3.0)
    await journal.close(LIMITER)


async def test_outcomes_that_are_recorded_together_release_and_block_dependents_in_the_same_transaction(path: Path) -> None:
    journal = await with_plan(path, edges=[(1, 3), (2, 3), (2, 4)])
    seen: list[Seen] = []
    done = observer(seen)
    journal.record_outcome(JournalUpdate("k0", "done", 1.0, then=Release(1), done=done))
    await journal.flush()
    assert seen == [(Effects(), None)], "the entry waits for another one"
    seen.clear()
    journal.record_outcome(JournalUpdate("k1", "done", 1.0, then=Release(2), done=done))
    await journal.flush()
    assert seen == [(Effects(ready=frozenset({"RegisterAgent"})), None)]
    seen.clear()
    await journal.run_in_transaction(execute("DROP TABLE edges"))
    journal.record_outcome(JournalUpdate("k2", "failed", 2.0, then=Block(3, "why"), done=done))
    journal.record_outcome(JournalUpdate("k3", "removed", 2.0, done=done))
    with pytest.raises(JournalError):
        await journal.flush()
    assert [(effects, type(error)) for effects, error in seen] == [(Effects(), JournalError)] * 2
    assert statuses(path) == {"k0": "done", "k1": "done", "k2": "pending", "k3": "pending"}, "all of it or nothing"
    await journal.close(LIMITER)


async def test_the_dependents_of_what_fails_are_blocked_and_theirs_too_each_once(path: Path) -> None:
    journal = await with_plan(path, edges=[(1, 3), (2, 3), (3, 4)])
    seen: list[Seen] = []
    for seq, key in ((1, "k0"), (2, "k1")):
        update = JournalUpdate(key, "failed", 1.0, then=Block(seq, f"{key} failed"), done=observer(seen))
        journal.record_outcome(update)
        await journal.flush()
    assert [effects.blocked for effects, _ in seen] == [2, 0]
    whys = await journal.run_in_transaction(execute("SELECT why FROM plan"))
    assert whys == [(None,), (None,), ("k0 failed",), ("k0 failed",)]
    await journal.close(LIMITER)


async def test_an_id_that_is_known_stays_known_whatever_comes_of_the_entry_later(path: Path) -> None:
    journal = await with_entries(path)
    journal.record_outcome(JournalUpdate("k0", "done", 1.0, origin="made", made_id="id"))
    await journal.flush()
    for status in ("unknown", "failed", "removed"):
        journal.record_outcome(JournalUpdate("k0", status, 2.0))
        await journal.flush()
        with read_journal(path) as reading:
            assert [(row.status, row.made_id) for row in reading.rows("key = 'k0'")] == [(status, "id")]
    await journal.close(LIMITER)


async def test_commits_wait_for_the_disk(path: Path) -> None:
    """Not only for the operating system: what was recorded is there when the power goes."""
    journal = await with_entries(path)
    assert await journal.run_alone(execute("PRAGMA journal.synchronous")) == [(2,)], "FULL"
    await journal.close(LIMITER)


async def test_what_was_recorded_is_written_before_the_journal_is_closed_and_nothing_is_recorded_afterwards(path: Path) -> None:
    journal = await with_entries(path)
    journal.record_outcome(JournalUpdate("k0", "done", 1.0))
    await journal.close(LIMITER)
    assert statuses(path)["k0"] == "done"
    with pytest.raises(RuntimeError, match="closed"):
        journal.record_outcome(JournalUpdate("k1", "done", 1.0))


async def test_an_error_in_a_group_reaches_all_who_asked_and_leaves_the_journal_usable(path: Path) -> None:
    journal = await with_entries(path)
    good = journal.run_in_transaction(
        lambda connection: connection.execute("UPDATE journal.entries SET status = 'done'") and None
    )
    bad = journal.run_in_transaction(lambda connection: connection.execute("UPDATE journal.nothing SET x = 1") and None)
    found = await asyncio.gather(good, bad, return_exceptions=True)
    assert isinstance(found[1], JournalError)
    await journal.record_attempt("k0", now=1.0)
    assert statuses(path)["k0"] == "sent"
    await journal.close(LIMITER)


async def test_a_journal_of_another_target_is_refused_and_left_as_it_is(path: Path) -> None:
    await (await with_entries(path)).close(LIMITER)
    before = content(path)
    for other in (
        Target(2, HERE.hosts),
        Target(1, {**HERE.hosts, "aiagent": "http://there"}),
        Target(1, HERE.hosts, "sandbox"),
    ):
        journal = await Journal.open(path)
        with pytest.raises(JournalError, match="belongs to AppId 1 at http://here"):
            journal.require(other)
        await journal.close(LIMITER)
    assert content(path) == before


async def test_a_journal_of_a_sandbox_that_has_ended_says_so(path: Path) -> None:
    await (await begun(path, Target(1, HERE.hosts, "first"))).close(LIMITER)
    journal = await Journal.open(path)
    for other in (Target(1, HERE.hosts, "second"), HERE):
        with pytest.raises(JournalError, match="sandbox has ended"):
            journal.require(other)
    await journal.close(LIMITER)


def spoiled(path: Path) -> Iterator[tuple[str, str]]:
    """Ways to spoil a journal, and what is said about each."""
    good = path.read_bytes()
    for name, data in (
        ("text", b"not a journal\n" * 100),
        ("a cut page", good[:1500]),
        ("zeros in the middle", good[:4096] + bytes(8192) + good[12288:]),
        ("a spoiled header", b"X" + good[1:]),
    ):
        path.write_bytes(data)
        yield name, "not a journal|damaged"
    path.write_bytes(good)
    for statement, said in (
        (f"PRAGMA user_version = {len(SCHEMA) + 1}", "update zego_aigc"),
        ("PRAGMA application_id = 7", "not a journal of zego-aigc"),
        ("DELETE FROM meta WHERE name = 'target'", "damaged"),
        ("UPDATE meta SET value = '{' WHERE name = 'target'", "damaged"),
    ):
        path.write_bytes(good)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)
        yield statement, said


async def test_what_is_damaged_newer_or_no_journal_is_refused_and_left_as_it_is(path: Path) -> None:
    await (await with_entries(path)).close(LIMITER)
    for name, said in spoiled(path):
        before = content(path)
        with pytest.raises(JournalError, match=said):
            await Journal.open(path)
        with pytest.raises(JournalError, match=said):
            read_journal(path)
        assert content(path) == before, name


async def test_a_directory_and_a_place_that_is_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="is not a file"):
        await Journal.open(tmp_path)
    with pytest.raises(JournalError, match="there is no directory"):
        await Journal.open(tmp_path / "none" / "j")
    with pytest.raises(JournalError, match="there is no journal"):
        await Journal.open(tmp_path / "j", must_exist=True)


@pytest.mark.parametrize("begin", [b"", None])
async def test_an_empty_file_and_one_that_was_killed_at_its_birth_are_begun_anew(path: Path, begin: bytes | None) -> None:
    born(path, begin)
    await (await with_entries(path)).close(LIMITER)
    assert len(statuses(path)) == 4


HOLD = """
import pathlib, sys, time
from zego_aigc.provisioning.lock import Lock
lock = Lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes the journal."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


async def test_one_process_writes_at_a_time_and_a_killed_one_holds_nothing(path: Path, holder: subprocess.Popen[bytes]) -> None:
    assert is_locked(path)
    with pytest.raises(JournalBusy, match=rf"another process \({holder.pid}\)"):
        await Journal.open(path)
    holder.kill()
    holder.wait()
    assert not is_locked(path)
    lock = Lock(path)
    assert is_locked(path)
    with pytest.raises(JournalBusy, match="another run in this process"):
        await Journal.open(path)
    lock.release()
    lock.release()
    assert files(path) == [path.name], "which the killed one had made"
    Lock(path.with_name("another")).release()
    assert files(path) == [path.name], "nothing was written"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a journal with hard links is refused")
@pytest.mark.parametrize("link", [os.symlink, os.link])
async def test_a_journal_is_one_whatever_name_it_is_opened_by(
    path: Path, holder: subprocess.Popen[bytes], link: Callable[[Path, Path], None]
) -> None:
    other = path.parent / "current.journal"
    link(path, other)
    assert is_locked(other)
    with pytest.raises(JournalBusy, match=str(holder.pid)):
        await Journal.open(other)


@pytest.mark.skipif(sys.platform == "win32", reason="locks are others there")
def test_whoever_only_looks_whether_a_journal_is_written_keeps_nobody_from_writing_it(path: Path) -> None:
    """However long that takes: on a busy machine its process may be held up in between."""
    path.touch()
    looking = os.open(path, os.O_RDONLY)
    assert _try_lock(looking, shared=True)
    (done := threading.Timer(0.5, os.close, [looking])).start()
    Lock(path).release()
    done.join()


HAMMER = """
import os, pathlib, sys, time
from zego_aigc.provisioning.errors import JournalBusy
from zego_aigc.provisioning.lock import Lock
path, mark, end, both = pathlib.Path(sys.argv[1]), sys.argv[2], time.monotonic() + 1.5, 0
while time.monotonic() < end:
    try:
        lock = Lock(path)
    except JournalBusy:
        continue
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        both += 1
    else:
        time.sleep(0.0005)
        os.unlink(mark)
    lock.release()
sys.exit(both)
"""


@pytest.mark.slow
def test_a_lock_is_held_by_one_although_its_file_comes_and_goes(path: Path) -> None:
    """A file that its holder removes between the open and the lock of another locks nothing."""
    command = [sys.executable, "-c", HAMMER, str(path), str(path.with_name("mark"))]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]


def refusing(number: int) -> str:
    """A program that opens a journal where the file system answers a request for a lock with an error."""
    return f"""
import asyncio, fcntl, sys
def refuse(*_): raise OSError({number}, "said the file system")
fcntl.flock = refuse
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.lock import is_locked
from pathlib import Path
print(is_locked(Path(sys.argv[1])))
try: asyncio.run(Journal.open(sys.argv[1]))
except Exception as error: print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="locks are others there")
@pytest.mark.parametrize(("number", "said"), [(errno.ENOLCK, "keeps no locks"), (errno.EIO, "cannot be locked")])
def test_a_file_system_that_locks_nothing_is_named(path: Path, number: int, said: str) -> None:
    path.touch()
    out = subprocess.run([sys.executable, "-c", refusing(number), str(path)], capture_output=True, text=True, check=True).stdout
    assert out.startswith("None\nJournalError")
    assert said in out
    assert "said the file system" in out


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="takes another account's part")
async def test_another_account_sees_a_run_go_on_or_hears_that_it_cannot_tell() -> None:
    def seen_by_another_account(path: Path) -> str:
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            os.setegid(65534)
            os.seteuid(65534)
            _held.clear()  # as in a process of its own
            os.write(writing, str(is_locked(path)).encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            return answer.read()

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "j")
        journal = await with_entries(path)
        path.parent.chmod(0o755)
        assert seen_by_another_account(path) == "True"
        path.chmod(0o600)  # noqa: ASYNC240 - a test
        assert seen_by_another_account(path) == "None"
        await journal.close(LIMITER)


@contextmanager
def as_an_account_that_may_not(path: Path) -> Iterator[None]:
    """Take another account's part where this one may write anything."""
    if os.geteuid() != 0:
        yield
        return
    group = os.getegid()
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


@pytest.mark.skipif(sys.platform == "win32", reason="rights are others there")
def test_a_journal_that_this_account_may_not_write_says_so() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "j")
        path.touch(0o400)
        Path(directory).chmod(0o555)
        with as_an_account_that_may_not(path):
            for one in (path, path.with_name("new")):
                with pytest.raises(JournalError, match=f"may not write the journal {one}"):
                    Lock(one)
        Path(directory).chmod(0o700)


@pytest.mark.skipif(sys.platform == "win32", reason="files are others there")
def test_what_cannot_be_a_journal_is_named_and_nobody_writes_what_is_not_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(JournalError, match="is not a file"):
        Lock(tmp_path / "pipe")
    with pytest.raises(JournalError, match="cannot be opened for writing"):
        Lock(tmp_path / ("x" * 300))
    assert is_locked(tmp_path / "none") is False


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_lock_removes_no_file_that_was_put_in_the_place_of_its_own(path: Path) -> None:
    lock = Lock(path)
    assert lock.in_place
    path.unlink()
    path.write_bytes(b"another's")
    assert not lock.in_place
    lock.release()
    assert path.read_bytes() == b"another's"


async def test_a_journal_without_its_log_is_refused_while_more_is_in_that(path: Path) -> None:
    journal = await with_entries(path)
    copy, whole = path.with_name("copy"), path.with_name("whole")
    shutil.copy(path, copy)
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{path}{suffix}", f"{whole}{suffix}")
    assert copy.stat().st_size, "its header and tables are there from the first commit"
    before = content(copy)
    for attempt in (read_journal, Journal.open):
        with pytest.raises(JournalError, match=r"was not closed, and copy-wal.*is not beside it"):
            await found if isinstance(found := attempt(copy), Awaitable) else found
    assert content(copy) == before
    assert len(statuses(whole)) == 4
    await journal.close(LIMITER)
    shutil.copy(path, copy)
    assert len(statuses(copy)) == 4, "one that was closed is whole"


async def test_a_kill_at_any_statement_leaves_a_journal_that_can_be_used(path: Path) -> None:
    """Of its birth, of a run's beginning, of its log's being brought in, and of its end."""
    journal = await Journal.open(path)
    taken: list[Path] = []

    def take(_: str) -> None:
        killed = path.with_name(f"killed-{len(taken)}")
        for suffix in ("", "-wal", "-shm", "-journal"):
            if (file := Path(f"{path}{suffix}")).exists():
                shutil.copy(file, f"{killed}{suffix}")
        taken.append(killed)

    for _ in range(2):
        await journal.run_alone(lambda connection: connection.set_trace_callback(take))
        await journal.begin(HERE)
        await journal.run_alone(_bring_in_log)
        await journal.close(LIMITER)
        journal = await Journal.open(path)
    await journal.close(LIMITER)
    assert len(taken) > 30
    for killed in taken:
        resumed = await begun(killed)
        await resumed.close(LIMITER)
        with read_journal(killed) as reading:
            assert reading.facts.target == HERE


async def test_a_kill_in_the_middle_of_a_commit_is_undone(path: Path) -> None:
    """A commit to the file itself, as at a run's beginning and end: what undoes it lies beside it."""
    await (await with_entries(path)).close(LIMITER)
    killed, before = path.with_name("killed"), content(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size=1")
        connection.execute("PRAGMA cache_spill=1")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE big AS SELECT randomblob(3000) FROM entries, entries AS a, entries AS b, entries AS c")
        connection.execute("UPDATE entries SET status = 'done', error = hex(randomblob(9000))")
        for suffix in ("", "-journal"):
            shutil.copy(f"{path}{suffix}", f"{killed}{suffix}")
        connection.execute("ROLLBACK")
    assert content(killed) != before
    resumed = await begun(killed)
    assert set(statuses(killed).values()) == {"pending"}
    await resumed.close(LIMITER)


async def test_what_another_program_has_made_whole_after_a_kill_is_whole(path: Path) -> None:
    journal = await with_entries(path)
    killed = path.with_name("killed")
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{path}{suffix}", f"{killed}{suffix}")
    with closing(sqlite3.connect(killed)) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (4,)
    assert not killed.with_name("killed-wal").exists()
    await (await begun(killed)).close(LIMITER)
    assert len(statuses(killed)) == 4
    await journal.close(LIMITER)


async def test_a_log_that_has_grown_is_brought_in_and_a_copy_without_it_is_still_known(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zego_aigc.provisioning.journal.MAX_LOG", 50_000)
    journal = await with_entries(path)
    for n in range(300):
        journal.record_outcome(JournalUpdate(KEYS[n % 4], "failed", float(n), error={"message": "x" * 2000}))
        await journal.flush()
    assert path.with_name("j.journal-wal").stat().st_size < 2_000_000
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    with pytest.raises(JournalError, match="was not closed"):
        read_journal(copy)
    with read_journal(path) as reading:
        assert max(row.recorded or 0 for row in reading.rows()) == 299.0
    await journal.close(LIMITER)


async def test_a_journal_is_read_while_it_is_written(path: Path) -> None:
    journal = await with_entries(path)
    with read_journal(path) as reading:
        assert reading.in_use
        assert reading.counts() == {("RegisterAgent", "pending"): 4}
        await journal.record_attempt("k0", now=1.0)
        assert reading.counts() == {("RegisterAgent", "pending"): 4}, "a reading does not change under its reader"
    assert statuses(path)["k0"] == "sent"
    await journal.close(LIMITER)


def aged(path: Path) -> None:
    """Make a journal one of version 1, which did not say what its entries were."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE entries DROP COLUMN spec")
        connection.execute("PRAGMA user_version = 1")


async def test_an_older_journal_is_read_as_it_is_and_brought_up_to_date_by_the_first_run_that_writes_it(path: Path) -> None:
    journal = await with_entries(path)
    await journal.record_attempt("k0", now=1.0)
    await journal.close(LIMITER)
    aged(path)
    before = content(path)
    with read_journal(path) as reading:
        assert reading.facts.version == 1
        assert [row.spec for row in reading.rows("status = 'sent'")] == [None]
        assert reading.counts()["RegisterAgent", "pending"] == 3
    looked_at = await Journal.look(path)
    assert await looked_at.run_alone(lambda journal: journal.execute("SELECT count(spec) FROM journal.entries").fetchone()) == (
        0,
    )
    await looked_at.close()
    await (await Journal.open(path)).close()
    assert content(path) == before, "looking at it changes nothing"

    journal = await begun(path)
    await journal.close(LIMITER)
    assert statuses(path) == {"k0": "sent", "k1": "pending", "k2": "pending", "k3": "pending"}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(SCHEMA),)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


Step = Callable[[Journal], Awaitable[object]]


def step(draw: tuple[str, str]) -> Step:
    kind, key = draw
    if kind == "attempt":
        return lambda journal: journal.record_attempt(key, now=1.0)

    def record(journal: Journal) -> Awaitable[None]:
        journal.record_outcome(JournalUpdate(key, kind, 2.0, made_id=f"id-{key}"))
        return journal.flush()

    return record


steps = st.lists(
    st.tuples(st.sampled_from(["attempt", "done", "failed", "unknown"]), st.sampled_from(KEYS)), min_size=1, max_size=8
)


@pytest.mark.slow
@given(steps, st.tuples(st.sampled_from(["attempt", "done"]), st.sampled_from(KEYS)), st.floats(0, 1))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_cut_at_any_byte_it_holds_all_that_was_durable_and_the_last_write_wholly_or_not_at_all(
    tmp_path: Path, done: list[tuple[str, str]], last: tuple[str, str], cut: float
) -> None:
    """As when the power goes: what was awaited is there, and what was being written is there or not."""
    shutil.rmtree(tmp_path / "w", ignore_errors=True)
    (tmp_path / "w").mkdir()
    path, log = tmp_path / "w" / "j", tmp_path / "w" / "j-wal"
    journal = await with_entries(path)
    for one in done:
        await step(one)(journal)
    durable, before = log.read_bytes(), statuses(path)
    await step(last)(journal)
    whole, after = log.read_bytes(), statuses(path)
    assert whole.startswith(durable)

    torn = tmp_path / "w" / "torn"
    shutil.copy(path, torn)
    length = len(durable) + round(cut * (len(whole) - len(durable)))
    torn.with_name("torn-wal").write_bytes(whole[:length])
    await journal.close(LIMITER)

    resumed = await begun(torn)
    assert statuses(torn) == (after if length == len(whole) else before)
    await resumed.close(LIMITER)
    assert statuses(torn) == (after if length == len(whole) else before)


def test_a_run_waits_until_the_calls_of_the_last_have_left_the_window() -> None:
    mine, other = LocalLimiter(), LocalLimiter()
    facts: dict[str, Any] = {"opened": 100.0, "now": 100.2, "window": 1.0, "guard": 0.05}
    assert pause(None, mine, **facts) == pytest.approx(0.95), "killed, perhaps a moment before the journal was opened"
    assert pause(Ended(99.5, tag(other)), mine, **facts) == pytest.approx(0.45)
    assert pause(Ended(50.0, tag(other)), mine, **facts) == 0.0
    assert pause(Ended(99.5, tag(mine)), mine, **facts) == 0.0, "the limiter knows what was sent"
    assert pause(Ended(5000.0, tag(other)), mine, **facts) == pytest.approx(0.95), "the machine was started anew"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_limiters_copy_in_a_forked_process_does_not_pass_for_the_original() -> None:
    limiter = LocalLimiter()
    mine = tag(limiter)
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, tag(limiter).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() not in {"", mine}
    os.wait()
    assert tag(limiter) == mine
