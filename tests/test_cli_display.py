"""What is drawn on a terminal, at every width, and what is printed where there is none."""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Self

import anyio
import pytest

from zego_aigc import QuotaExceeded
from zego_aigc.aiagent import RegisterAgent
from zego_aigc.cli._display import choose_display
from zego_aigc.cli._format import duration, error_text
from zego_aigc.cli._json import JsonDisplay
from zego_aigc.cli._plain import PlainDisplay
from zego_aigc.cli._run import drive
from zego_aigc.errors import NotFound
from zego_aigc.provisioning import Finished, LaneProgress, Outcome, Progress, Report, RunEvent, Started, Warned

pytest.importorskip("rich")
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from zego_aigc.cli._live import LiveDisplay, divide, shortened


def lane(action: str, done: int, total: int, *, failed: int = 0, unknown: int = 0) -> LaneProgress:
    return LaneProgress(
        action=action,
        total=total,
        done=done,
        failed=failed,
        unknown=unknown,
        pending=total - done - failed - unknown,
        in_flight=3,
        rate=10,
        limit=10,
        seconds_left=75.0,
    )


PROGRESS = Progress(
    lanes=(
        lane("RegisterAgent", 48, 48),
        lane("CreateDigitalHumanAgentInstance", 1200, 9048, failed=12, unknown=3),
        lane("CreateLiveDigitalHumanAgentInstance", 7, 20),
        lane("CreateDigitalHumanStreamTask", 5, 50),
    ),
    seconds=125.0,
    seconds_left=795.0,
    note=None,
)


def failed(key: str, text: str) -> Outcome:
    error = NotFound(
        message=text, code=1, name="Nowhere", advice="Make it first.", action="RegisterAgent", request_id="77", attempts=1
    )
    return Outcome(key=key, action=RegisterAgent(agent_id="a"), status="failed", error=error, request_id="77")


def drawn(width: int, *, encoding: str = "utf-8", color: bool = False, progress: Progress = PROGRESS) -> list[str]:
    """What stands on the screen, line by line."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    console = Console(file=file, width=width, height=40, force_terminal=color, no_color=not color, highlight=False)
    display = LiveDisplay("Provisioning fleet.toml", "AppId 1 at https://host.example", console=console)
    display.event(failed("RegisterAgent:somebody-with-a-long-name", "there is no such thing"))
    display.progress(progress)
    console.print(display.render())
    file.flush()
    return raw.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_the_counts_stand_at_every_width_and_nothing_is_wider(width: int, encoding: str) -> None:
    lines = drawn(width, encoding=encoding)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for count in ("48/48", "1200/9048", "7/20", "5/50"):
        assert count in text
    assert "1260 of 9166" in text


def test_at_80_columns_all_numbers_stand_with_a_bar_and_names_that_can_be_told_apart() -> None:
    lines = drawn(80)
    second = next(line for line in lines if "1200/9048" in line)
    for word in ("DHAgentInstance", "━", "10/s of 10", "12 failed", "3 unknown"):
        assert word in second
    names = [line.split()[0] for line in lines if "/s of" in line or "48/48" in line]
    assert len(set(names)) == 4
    assert any("about 13 min 15 s left" in line for line in lines)
    assert any("failed" in line and "there is no such thing" in line for line in lines)


def test_at_120_columns_names_are_whole_and_the_bar_is_at_its_longest() -> None:
    text = "\n".join(drawn(120))
    assert "CreateLiveDigitalHumanAgentInstance" in text
    assert "━" * 28 in text


def test_a_fleet_that_is_being_checked_shows_how_far_it_is() -> None:
    checking = Progress(lanes=(), seconds=0.0, seconds_left=0.0, note=None, checked=41_232)
    assert "checking the fleet: 41,232 entries so far ..." in "\n".join(drawn(80, progress=checking))


@given(*[st.integers(0, 200)] * 5)
def test_however_a_line_is_divided_it_fits_and_the_counts_have_their_room(
    width: int, name: int, count: int, rate: int, wrong: int
) -> None:
    widths = divide(width, name, count, rate, wrong)
    parts = [part for part in widths if part]
    assert sum(parts) + 2 * len(parts) + count <= max(width, count)
    assert widths.name <= name
    assert widths.rate in {0, rate}


@given(st.text(st.characters(codec="ascii"), max_size=50), st.integers(1, 60), st.booleans())
def test_a_shortened_name_fits(name: str, width: int, ascii_only: bool) -> None:
    assert len(shortened(name, width, ascii_only=ascii_only)) <= width


def test_names_are_shortened_so_that_they_stay_apart() -> None:
    assert shortened("CreateDigitalHumanAgentInstance", 25) == "DigitalHumanAgentInstance"
    assert shortened("CreateDigitalHumanAgentInstance", 19) == "DHAgentInstance"
    assert shortened("CreateDigitalHumanAgentInstance", 14) == "DHAgen…nstance"
    assert shortened("CreateDigitalHumanStreamTask", 11, ascii_only=True) == "DHSt..mTask"


REPORT = Report(counts={"RegisterAgent": Counter(done=2, failed=1, pending=1)}, seconds=3.0, stopped="it was interrupted")


def test_plain_lines_put_what_came_of_it_on_standard_output_and_words_about_it_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = PlainDisplay("Provisioning f", "here")
    display.begin()
    assert capsys.readouterr() == ("", "")
    display.progress(Progress(lanes=(), seconds=0.0, seconds_left=0.0, note=None, checked=5000))
    display.event(Started({"RegisterAgent": 4}))
    display.event(Warned("take care"))
    display.event(failed("x", "there is no such thing"))
    display.event(failed("y", "there is no such thing"))
    display.progress(PROGRESS)
    display.progress(PROGRESS)
    display.notice("stopping")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[:4] == [
        "Provisioning f: here",
        "checking the fleet: 5,000 entries so far",
        "4 RegisterAgent",
        "warning: take care",
    ]
    assert err.count("there is no such thing") == 1
    assert err.count("RegisterAgent 48/48 (10/s of 10)") == 1
    display.end(REPORT)
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "  RegisterAgent  2 done, 1 failed, 1 pending",
        "failed: 2 entries: Nowhere (1): there is no such thing. Make it first.",
        "    x  RequestId 77",
        "    y  RequestId 77",
        "stopped: it was interrupted. The same command goes on from there",
        "2 of 4 done, 1 failed, 1 pending in 3.0 s",
    ]


REMOVING = Progress(
    lanes=(
        lane("CreateDigitalHumanAgentInstance", 20, 48),
        lane("CreateAgentInstance", 0, 2),
        lane("CreateDigitalHumanStreamTask", 5, 50),
        lane("RegisterAgent", 3, 3),
    ),
    seconds=2.0,
    seconds_left=5.0,
    note=None,
)


def test_a_teardown_names_the_action_whose_rate_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    rates = "DeleteAgentInstance 10/s of 10", "StopDigitalHumanStreamTask 10/s of 10"
    PlainDisplay("Removing", "here", removes=True).progress(REMOVING)
    counts = "CreateDigitalHumanAgentInstance 20/48 | CreateAgentInstance 0/2 | CreateDigitalHumanStreamTask 5/50"
    said = capsys.readouterr().err
    assert said == f"[2.0 s, 5.0 s left] {counts} | RegisterAgent 3/3 | {rates[0]} | {rates[1]}\n"
    file = io.StringIO()
    console = Console(file=file, width=80, no_color=True)
    display = LiveDisplay("Removing", "here", console=console, removes=True)
    display.progress(REMOVING)
    console.print(display.render())
    rows = file.getvalue().splitlines()
    assert [row for row in rows if "/s of" in row] == [row for row in rows if row.strip().startswith(", ".join(rates))]
    assert any("CreateAgentInstance" in row and "0/2" in row for row in rows)


def test_a_trial_that_was_stopped_does_not_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    PlainDisplay("t", "w", in_sandbox=True).end(REPORT)
    file = io.StringIO()
    LiveDisplay("t", "w", console=Console(file=file, width=120), in_sandbox=True).end(REPORT)
    for text in (capsys.readouterr().out, file.getvalue()):
        assert "The sandbox has ended, and what was made with it" in text
        assert "goes on" not in text


def test_json_lines_say_everything_that_the_other_displays_do(capsys: pytest.CaptureFixture[str]) -> None:
    display = JsonDisplay()
    display.begin()
    display.event(Warned("take care"))
    display.event(failed("x", "no"))
    display.progress(PROGRESS)
    display.notice("stopping")
    display.event(Finished(REPORT))
    display.end(REPORT)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["warning", "outcome", "progress", "note", "finished"]
    assert events[1]["error"]["code"] == 1
    assert events[-1]["exit_status"] == 1


class ClosesSlowly:
    """An operation that has done its work, and whose journal takes its time to be closed."""

    progress = PROGRESS
    report = REPORT

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await anyio.sleep(1.2 * JsonDisplay.interval)

    async def events(self) -> AsyncIterator[RunEvent]:
        yield Started({})
        yield Finished(REPORT)


@pytest.mark.slow
@pytest.mark.anyio
async def test_finished_is_the_last_word_however_long_the_journal_takes_to_close(
    capsys: pytest.CaptureFixture[str],
) -> None:
    operation: Any = ClosesSlowly()
    assert await drive(operation, argparse.Namespace(json=True, plain=False), title="t", where="w") == REPORT.exit_status
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["started", "finished"]


def test_the_summary_names_what_went_wrong_and_how_it_ended() -> None:
    file = io.StringIO()
    display = LiveDisplay("t", "w", console=Console(file=file, width=80, no_color=True))
    display.begin()
    display.event(Warned("take care"))
    for n in range(3):
        display.event(failed(f"key-{n}", "no"))
    for n in range(120):
        display.event(failed("k", "x" * n))
    display.notice("stopping")
    display.end(REPORT)
    text = file.getvalue()
    for word in ("take care", "3 entries", "key-1", "and 21 more", "stopped: it was interrupted", "✗ 2 of 4 done"):
        assert word in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    options = argparse.Namespace(json=False, plain=False)
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert choose_display(options, "t", "w").interval == LiveDisplay.interval
    monkeypatch.setenv("TERM", "dumb")
    assert choose_display(options, "t", "w").interval == PlainDisplay.interval


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def fileno(self) -> int:
        raise ValueError


def test_a_display_that_can_show_nothing_any_more_does_not_end_the_operation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", closed := Closed())
    monkeypatch.setattr(closed, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    display = choose_display(argparse.Namespace(json=False, plain=False), "t", "w")
    for _ in range(3):
        display.begin()
        display.event(Started({}))
        display.progress(PROGRESS)
        display.notice("x")
        display.end(REPORT)
    assert capsys.readouterr().err.count("nothing more is shown") == 1


def test_colours_obey_the_usual_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    assert LiveDisplay("t", "w").console.color_system is not None
    monkeypatch.setenv("NO_COLOR", "1")
    assert LiveDisplay("t", "w").console.no_color
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert not LiveDisplay("t", "w").console.is_terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert LiveDisplay("t", "w").console.is_terminal


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (245, "4 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_error_that_says_nothing_but_its_name_is_told_so() -> None:
    error = QuotaExceeded(code=5, name="Full", advice="Wait.", action="X", request_id="", attempts=1)
    assert error_text(Outcome(key="k", action=RegisterAgent(agent_id="a"), status="failed", error=error)) == "Full (5). Wait."
