"""The sandbox's page, driven in Chromium: on a phone and on a desk, with nothing, a few and many, by mouse and by keyboard.

Skipped where Chromium or its driver is missing, unless they must be there (see ``requirements``). So is what axe looks for,
unless ``ZEGO_TEST_AXE`` is the path of axe-core's ``axe.min.js``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from browser import DESK, PHONE, Page, axe, chromium

from benchmarks.ports import reserved_port
from zego_aigc.sandbox import LiveSandbox, Sandbox
from zego_aigc.sandbox.registry import BEHAVIOURS
from zego_aigc.schema.actions import ACTIONS

__all__ = ["axe"]

pytestmark = pytest.mark.slow


class SandboxPage(Page):
    """The sandbox's page in a browser."""

    def open(self, live: LiveSandbox, width: int, scheme: str = "light") -> None:
        self.show(live.sandbox.page_url, width, scheme)
        self.wait(lambda: live.url in self.text("#link"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxPage]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield SandboxPage(driver)


def do(sandbox: Sandbox, action: str, body: dict[str, Any]) -> Any:
    """What a call does, without the HTTP around it."""
    return BEHAVIOURS[action](sandbox.app, ACTIONS[action].from_wire(body))


def fill(live: LiveSandbox, count: int) -> None:
    """Have so many instances and tasks live, in their rooms."""

    def make(sandbox: Sandbox) -> None:
        quotas = sandbox.app.quotas
        quotas.agents = quotas.digital_humans = quotas.streams = max(10, count)
        llm = {"Url": "https://llm.invalid/v1/chat/completions", "ApiKey": "very-secret", "Model": "m"}
        tts = {"Vendor": "MiniMax", "Params": {"app": {"api_key": "very-secret"}}}
        do(sandbox, "RegisterAgent", {"AgentId": "museum-guide", "Name": "Guide", "LLM": llm, "TTS": tts})
        for n in range(count):
            if n % 3 == 2:
                stream = {"RTCConfig": {"RoomId": "a-room-with-a-rather-long-name", "StreamId": f"stream-{n}"}}
                do(sandbox, "CreateDigitalHumanStreamTask", {"DigitalHumanConfig": {"DigitalHumanId": "h"}, **stream})
                continue
            rtc = {"RoomId": f"hall-{n}", "AgentStreamId": f"guide-{n}", "AgentUserId": f"bot-{n}", "UserStreamId": f"v-{n}"}
            switches = {"CallbackConfig": {"ASRResult": 1, "LLMResult": 1, "AgentInstanceStatus": 1}}
            do(sandbox, "CreateAgentInstance", {"AgentId": "museum-guide", "UserId": f"visitor-{n}", "RTC": rtc, **switches})

    live.call(make)
    live.advance(1)


def call(live: LiveSandbox, *bodies: tuple[str, dict[str, Any]]) -> None:
    """Call the services over HTTP, whatever they answer."""

    async def send(sandbox: Sandbox) -> None:
        async with sandbox.client() as client:
            for action, body in bodies:
                try:
                    await client.call_raw(action, body)
                except Exception:  # noqa: BLE001 - refusals are what is wanted
                    continue

    live.run(send)


@pytest.fixture
def live() -> Iterator[LiveSandbox]:
    """Its clock stands: what an instance does lasts until a browser, however slow, has shown it."""
    with LiveSandbox(time=time.time(), rate_limit=None) as running:
        running.sandbox.app.rate_limits["ListAgents"] = 5
        yield running


# --- seen ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("count", [0, 5, 300])
def test_it_is_whole_at_every_width_with_any_number(
    page: SandboxPage, live: LiveSandbox, count: int, width: int, scheme: str
) -> None:
    if count:
        fill(live, count)
        call(live, *[("ListAgents", {})] * 3, ("UnregisterAgent", {"AgentId": "nobody"}))
    page.open(live, width, scheme)
    page.wait(lambda: page.text("#agents-count") == ("All 1" if count else "No agents yet"))
    overflow = page.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    sizes = page.run("return [...document.querySelectorAll('.bar i')].map(bar => [bar.offsetWidth, bar.offsetHeight])")
    assert len(sizes) >= 3
    assert all(wide > 200 and high >= 10 for wide, high in sizes)
    assert page.run("return getComputedStyle(document.body).backgroundColor") == (
        "rgb(243, 245, 248)" if scheme == "light" else "rgb(16, 20, 26)"
    )
    assert page.complaints() == []


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "dark"), (DESK, "light")])  # colours do not depend on the width
def test_axe_finds_nothing(page: SandboxPage, live: LiveSandbox, axe: str, width: int, scheme: str) -> None:
    page.open(live, width, scheme)
    assert page.violations(axe) == []
    fill(live, 5)
    call(live, *[("ListAgents", {})] * 3, ("UnregisterAgent", {"AgentId": "nobody"}))
    page.wait(lambda: "no agent 'nobody' is registered" in page.text("#refused"))
    assert page.violations(axe) == []
    page.click("#instances tbody button")
    page.wait(lambda: "AgentInstanceCreated" in page.text("#timeline"))
    assert page.violations(axe) == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_refused_call_says_why_and_what_to_do_where_it_can_be_seen(page: SandboxPage, live: LiveSandbox, width: int) -> None:
    call(live, ("UnregisterAgent", {"AgentId": "nobody"}))
    page.open(live, width)
    page.wait(lambda: "no agent 'nobody' is registered" in page.text("#refused"))
    for number, words in ((4, "no agent 'nobody' is registered"), (5, "Register the agent first")):
        cell = page.driver.find_element("css selector", f"#refused tbody td:nth-child({number})")
        box = cell.rect
        assert words in cell.text
        assert 0 <= box["x"] < box["x"] + box["width"] <= width


def test_counts_say_what_is_left_out(page: SandboxPage, live: LiveSandbox) -> None:
    fill(live, 1)
    # Ten of each, which a client sends without a pause.
    reads = ["GetDigitalHumanList", "GetDigitalHumanInfo", "GetDigitalHumanRenderInfo", "GetTimbreList"]
    call(live, *[(read, {"DigitalHumanId": "h"}) for read in [*reads, "QueryDigitalHumanStreamTasks"]] * 10)
    page.open(live, DESK)
    page.wait(lambda: page.text("#calls-count") == "The newest 40 of 50")
    assert page.run("return document.querySelectorAll('#calls tbody tr').length") == 40
    assert page.text("#instances-count") == "All 1"


def test_what_is_selected_stays_so_while_other_things_change(page: SandboxPage, live: LiveSandbox) -> None:
    fill(live, 3)
    page.open(live, DESK)
    page.wait(lambda: page.run("return document.querySelectorAll('#instances tbody tr').length") == 2)
    selected = page.run(
        "const cell = document.querySelector('#instances td.id'); getSelection().selectAllChildren(cell); window.cell = cell;"
        "return String(getSelection())"
    )
    live.user_speaks("Hello")
    call(live, ("ListAgents", {}))
    live.advance(2)
    page.wait(lambda: "ListAgents" in page.text("#calls"))
    page.wait(lambda: page.run("return document.querySelector('#instances').textContent.includes('SPEAKING')"))
    assert page.run("return window.cell.isConnected && String(getSelection())") == selected
    assert selected in live.sandbox.app.instances


# --- used ------------------------------------------------------------------------------------------------------------


def test_bodies_are_shown_on_a_click_with_their_secrets_masked(page: SandboxPage, live: LiveSandbox) -> None:
    llm = {"Url": "https://llm.invalid/v1", "Model": "m", "ApiKey": "very-secret"}
    call(live, ("RegisterAgent", {"AgentId": "a", "LLM": llm}))
    signature = live.emit("ASRResult", "7", Text="hello")["Signature"]
    page.open(live, DESK)
    page.wait(lambda: "RegisterAgent" in page.text("#calls"))
    page.click("#calls tbody button")
    page.wait(lambda: "llm.invalid" in page.text("#json"))
    assert '"***"' in page.text("#json")
    assert "very-secret" not in page.text("#json")
    page.click("#detail button")
    page.click("#callbacks tbody button")
    page.wait(lambda: '"hello"' in page.text("#json"))
    assert signature not in page.text("#json")
    page.click("#detail button")


def test_an_instance_is_spoken_to_followed_and_ended(page: SandboxPage, live: LiveSandbox) -> None:
    fill(live, 1)
    page.open(live, DESK)
    page.wait(lambda: page.text("#instances-count") == "All 1")
    page.click("#instances tbody button")
    page.driver.find_element("css selector", "#speak input").send_keys("Where are the dinosaurs?")
    page.click("#speak button")
    page.wait(lambda: "round 1" in page.text("#timeline") and "LISTENING" in page.text("#timeline"))
    live.advance(10)
    page.wait(lambda: "You said: Where are the dinosaurs?" in page.text("#timeline"))
    page.run("document.querySelector('#emit select').value = 'Interrupted'")
    page.click("#emit button")
    page.wait(lambda: "Interrupted" in page.text("#timeline"))
    page.click("#end button")
    page.wait(lambda: page.text("#instances-count") == "No instances yet")
    assert not live.sandbox.app.instances
    assert page.complaints() == []


def test_the_clock_is_moved_and_what_cannot_be_done_is_said(page: SandboxPage, live: LiveSandbox) -> None:
    fill(live, 1)
    page.open(live, DESK)
    page.run("document.querySelector('#advance input').value = 130")
    page.click("#advance button")
    page.wait(lambda: not live.sandbox.app.instances)
    page.run("document.querySelector('#advance').noValidate = true; document.querySelector('#advance input').value = -1")
    page.click("#advance button")
    page.wait(lambda: "the clock moves forward" in page.text("#notice"))


def test_it_is_used_by_keyboard_alone(page: SandboxPage, live: LiveSandbox) -> None:
    fill(live, 1)
    page.open(live, DESK)
    page.wait(lambda: page.text("#instances-count") == "All 1")
    for _ in range(10):
        page.keys("\ue004")  # Tab
        if page.run("return document.activeElement.closest('#instances') !== null"):
            break
    page.keys("\ue007")  # Enter
    page.wait(lambda: page.run("return document.querySelector('#detail').open"))
    assert page.text("#detail-title").startswith("Instance ")
    page.keys("\ue00c")  # Escape
    page.wait(lambda: not page.run("return document.querySelector('#detail').open"))
    assert page.run("return document.activeElement.closest('#instances') !== null")


def test_a_page_with_a_token_trades_it_and_works_on(page: SandboxPage) -> None:
    with LiveSandbox(token="let-me-in") as live:
        page.open(live, DESK)
        assert "let-me-in" not in page.driver.current_url
        assert page.run("return document.cookie") == ""


def test_a_sandbox_that_has_ended_is_said_to_have(page: SandboxPage) -> None:
    with LiveSandbox(port=reserved_port()) as live:
        page.open(live, DESK)
    page.wait(lambda: "does not answer" in page.text("#link"))
