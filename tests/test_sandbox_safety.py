"""A sandbox obeys its developer: not a web page that their browser shows, and nothing leaves the machine unasked."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from sandbox_fixtures import eventually, sandbox, vendor
from vendor_client import VendorClient

from zego_aigc.sandbox import DEFAULT_SERVER_SECRET, Sandbox
from zego_aigc.sandbox.guard import is_loopback, is_loopback_url

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}

COMMANDS: list[tuple[str, str, Any]] = [
    ("POST", "advance", {"Seconds": 1000}),
    ("POST", "emit", {"Event": "ASRResult", "About": "7"}),
    ("POST", "faults", {"Fault": "stall"}),
    ("POST", "app", {"Quota": 0}),
    ("POST", "presence", {"RoomId": "r", "UserId": "u"}),
    ("POST", "speak", {"Text": "hi"}),
    ("DELETE", "faults", None),
]


async def status(vendor: VendorClient, method: str, path: str, body: Any = None, **headers: str) -> int:
    """The HTTP status of a request with such headers."""
    async with vendor.session.request(method, f"{vendor.url}{path}", data=json.dumps(body), headers=headers) as got:
        return got.status


# --- other sites' pages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "name", "body"), COMMANDS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "10.0.0.1"},
    ],
    ids=str,
)
async def test_no_command_of_another_sites_page_is_executed(
    sandbox: Sandbox, vendor: VendorClient, method: str, name: str, body: Any, headers: dict[str, str]
) -> None:
    before = (sandbox.clock.now(), sandbox.app.quotas.agents, len(sandbox.faults), sandbox.outbox.total)
    assert await status(vendor, method, f"/_sandbox/{name}", body, **JSON, **headers) == 403
    assert sandbox.clock.now() - before[0] < 60
    assert (sandbox.app.quotas.agents, len(sandbox.faults), sandbox.outbox.total) == before[1:]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_what_a_form_can_send_is_no_command(vendor: VendorClient, content_type: str) -> None:
    assert await status(vendor, "POST", "/_sandbox/app", {"Quota": 0}, **{"Content-Type": content_type}) == 415


@pytest.mark.parametrize("path", ["/_sandbox/", "/_sandbox/state", "/_sandbox/calls", "/_sandbox/live", "/ws"])
async def test_a_name_that_was_rebound_to_this_machine_reads_nothing(vendor: VendorClient, path: str) -> None:
    assert await status(vendor, "GET", path, Host="evil.example") == 403


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}], ids=str)
async def test_no_page_of_another_site_calls_the_services(
    sandbox: Sandbox, vendor: VendorClient, headers: dict[str, str]
) -> None:
    async with vendor.session.post(
        f"{vendor.url}/", params=vendor.query("RegisterAgent"), data='{"AgentId": "a"}', headers=headers
    ) as got:
        assert (got.status, (await got.json())["Code"]) == (403, 100000000)
    assert not sandbox.app.agents


async def test_the_page_itself_may_do_everything(sandbox: Sandbox, vendor: VendorClient) -> None:
    own = {"Origin": vendor.url, "Sec-Fetch-Site": "same-origin", **JSON}
    assert await status(vendor, "POST", "/_sandbox/app", {"Quota": 3}, **own) == 200
    assert sandbox.app.quotas.agents == 3
    local = vendor.url.replace("127.0.0.1", "localhost")
    assert await status(vendor, "POST", "/_sandbox/app", {"Quota": 4}, **{**own, "Origin": local}, Host=local[7:]) == 200


@pytest.mark.parametrize("path", ["/_sandbox/", "/_sandbox/page.js", "/_sandbox/page.css", "/_sandbox/state", "/_sandbox/no"])
async def test_no_other_page_can_frame_sniff_or_load_what_is_shown(vendor: VendorClient, path: str) -> None:
    async with vendor.session.get(f"{vendor.url}{path}") as got:
        policy = got.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert got.headers["X-Frame-Options"] == "DENY"
        assert got.headers["Cross-Origin-Resource-Policy"] == "same-origin"


# --- other machines --------------------------------------------------------------------------------------------------


async def test_where_other_machines_can_call_a_token_is_wanted() -> None:
    async with Sandbox(host="0.0.0.0") as sandbox, aiohttp.ClientSession() as session:
        assert len(sandbox.token) >= 20
        assert len(sandbox.server_secret) == 32
        assert sandbox.server_secret != DEFAULT_SERVER_SECRET
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        for token, expected in (("", 401), ("Bearer wrong", 401), (f"Bearer {sandbox.token}", 200)):
            assert await status(vendor, "GET", "/_sandbox/state", **({"Authorization": token} if token else {})) == expected
        assert await status(vendor, "POST", "/_sandbox/app", {"Quota": 0}, **JSON) == 401
        assert await vendor.code("ListAgents") == 0  # those are signed


async def test_a_browser_trades_the_token_for_a_cookie_of_the_page() -> None:
    async with Sandbox(token="let-me-in") as sandbox, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        assert sandbox.page_url.endswith("/_sandbox/?token=let-me-in")
        async with session.get(sandbox.page_url, allow_redirects=False) as got:
            assert (got.status, got.headers["Location"]) == (303, "/_sandbox/")
            cookie = got.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        for sent, expected in ((cookie.partition(";")[0], 200), ("zego_sandbox_token=other", 401), ("[]=", 401)):
            async with session.get(f"{sandbox.url}/_sandbox/live", headers={"Cookie": sent}) as got:
                assert got.status == expected


async def test_names_other_than_its_address_are_those_that_were_allowed() -> None:
    async with Sandbox(host="0.0.0.0", token="", allowed_hosts=["zego"]) as sandbox, aiohttp.ClientSession() as session:
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        for host in ("zego:8600", "10.1.2.3:8600", "[fe80::1]:1", "localhost"):
            assert await status(vendor, "GET", "/_sandbox/state", Host=host) == 200
        for host in ("evil.example", "zego.evil.example", "["):
            assert await status(vendor, "GET", "/_sandbox/state", Host=host) == 403


# --- callbacks -------------------------------------------------------------------------------------------------------


def test_callbacks_to_other_machines_are_an_error_unless_asked_for() -> None:
    with pytest.raises(ValueError, match="remote_callbacks=True"):
        Sandbox(callback_url="https://app.example/callbacks")
    with pytest.raises(ValueError, match="remote_callbacks=True"):
        Sandbox(callback_urls={"staging": "http://192.0.2.1/"})
    assert Sandbox(callback_url="https://app.example/callbacks", remote_callbacks=True).app.remote_callbacks


async def test_an_address_elsewhere_that_is_set_later_is_not_called(sandbox: Sandbox, vendor: VendorClient) -> None:
    assert await status(vendor, "POST", "/_sandbox/app", {"CallbackUrl": "http://192.0.2.1/"}, **JSON) == 200
    delivery = sandbox.emit("ASRResult", "7")
    await sandbox.settled()
    assert (delivery.state, delivery.attempts) == ("blocked", [])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("app.localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("", False),
        ("127.1", False),
    ],
)
def test_what_counts_as_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    if ":" not in host or host.startswith("["):
        assert is_loopback_url(f"http://{host}:80/x") is expected


def test_an_address_that_is_none_is_not_this_machine() -> None:
    assert not is_loopback_url("http://[::1")
    assert not is_loopback_url("nonsense")


async def test_no_answer_holds_a_signature(sandbox: Sandbox, vendor: VendorClient) -> None:
    body = json.dumps({"Event": "ASRResult", "About": "7"})
    async with vendor.session.post(f"{vendor.url}/_sandbox/emit", data=body, headers=JSON) as got:
        emitted = await got.text()
    signature = sandbox.outbox.deliveries[-1].body["Signature"]
    assert json.loads(emitted)["Body"]["Signature"] == "***"
    shown = [emitted]
    for path in ("state", "live", "calls"):
        async with vendor.session.get(f"{vendor.url}/_sandbox/{path}") as got:
            shown.append(await got.text())
    assert all(signature not in text for text in shown)


@pytest.mark.parametrize(
    "data", [{"Text": object()}, {"Text": "\ud800"}, {1: {2, object()}}], ids=["object", "surrogate", "set"]
)
async def test_data_that_is_no_json_is_an_error_of_its_emitter_and_later_callbacks_come(
    sandbox: Sandbox, vendor: VendorClient, data: Any
) -> None:
    sandbox.app.callback_url = f"{sandbox.url}/_sandbox/nothing"
    with pytest.raises(ValueError, match="must be JSON"):
        sandbox.emit("ASRResult", "7", Extra=data)
    assert not sandbox.outbox.deliveries
    delivery = sandbox.emit("ASRResult", "7")
    await eventually(lambda: delivery.attempts)
    assert delivery.attempts[0].status == 404


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-1, 31 * 86400 + 1, float("inf"), float("nan")])
async def test_the_clock_moves_forward_and_by_a_month_at_most(sandbox: Sandbox, vendor: VendorClient, seconds: float) -> None:
    with pytest.raises(ValueError, match="a month"):
        await sandbox.clock.advance(seconds)
    if seconds == seconds and abs(seconds) != float("inf"):
        assert await status(vendor, "POST", "/_sandbox/advance", {"Seconds": seconds}, **JSON) == 400
