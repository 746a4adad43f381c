"""What befell many entries in the same way is told once."""

from __future__ import annotations

from zego_aigc.cli._failures import Failures


def test_equal_failures_are_one_line_with_a_count_and_a_few_keys() -> None:
    failures = Failures()
    for n in range(5):
        failures.add("failed", f"key-{n}", "cannot reach 127.0.0.1:9")
    failures.add("unknown", "other", "cannot reach 127.0.0.1:9")
    assert list(failures.lines()) == [
        "failed: 5 entries: cannot reach 127.0.0.1:9",
        "    key-0, key-1, key-2 and 2 more",
        "unknown: other: cannot reach 127.0.0.1:9",
    ]


def test_messages_that_differ_in_a_name_or_a_number_say_the_same() -> None:
    failures = Failures()
    failures.add("failed", "a", "an agent 'a' is registered already (17)")
    failures.add("failed", "b", "an agent 'b' is registered already (4)")
    failures.add("failed", "c", "an agent 'b' is gone (4)")
    assert [line for line in failures.lines() if "entries" in line] == [
        "failed: 2 entries: an agent 'a' is registered already (17)"
    ]


def test_what_is_known_of_one_entry_alone_stands_beside_it() -> None:
    failures = Failures()
    failures.add("failed", "a", "full", "RequestId 1")
    assert list(failures.lines()) == ["failed: a: full [RequestId 1]"]
    for n in range(30):
        failures.add("failed", f"b{n}", "full", f"RequestId {n}")
    head, *rest = failures.lines()
    assert head == "failed: 31 entries: full"
    assert rest[:2] == ["    a  RequestId 1", "    b0  RequestId 0"]
    assert rest[20:] == ["    and 11 more"]


def test_memory_is_bounded_however_many_failures_there_are() -> None:
    failures = Failures()
    for n in range(1000):
        failures.add("failed", "key", "x" * n)
    assert len(list(failures)) == 100
    assert list(failures.lines())[-1] == "... and 900 more"
