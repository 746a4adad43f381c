"""Who may use a sandbox: the developer at this machine, and not a web page that their browser happens to show.

A browser sends requests to 127.0.0.1 for any page. What distinguishes a page's requests from the developer's is what the page
cannot choose: the Host header (a page whose name was rebound to 127.0.0.1 still sends its own name), Origin and
Sec-Fetch-Site, and a Content-Type that a browser does not send across origins without asking first.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

__all__ = ["HEADERS", "TOKEN_COOKIE", "Guard", "is_loopback", "is_loopback_url"]

TOKEN_COOKIE = "zego_sandbox_token"  # noqa: S105 - the cookie's name

MAX_ACCEPTED = 100
"""Host headers that are remembered as good, since judging one takes as long as verifying a signature."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer under ``/_sandbox/``."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own. Names are not resolved."""
    host = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_loopback_url(url: str) -> bool:
    """Whether a URL leads to this machine."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def _hostname(authority: str) -> str:
    try:
        return (urlsplit(f"//{authority}").hostname or "").lower()
    except ValueError:
        return ""


class Guard:
    """Judges requests by their headers.

    Args:
        listening: the host that the sandbox was asked to listen on.
        names: further host names under which it may be called, such as a service's name in a compose file.
        token: what requests under ``/_sandbox/`` must carry; empty for none.
    """

    def __init__(self, listening: str, names: Collection[str] = (), token: str = "") -> None:
        self._loopback_only = is_loopback(listening)
        self._names = {listening.strip("[]").lower(), *(name.lower() for name in names)}
        self._token = token
        self._accepted: set[str] = set()

    def host_problem(self, authority: str) -> str:
        """What is wrong with a Host header; empty if nothing is."""
        if authority in self._accepted:
            return ""
        host = _hostname(authority)
        # An address cannot be rebound; where only loopback is listened on, other addresses cannot be meant either.
        if is_loopback(host) or host in self._names or (not self._loopback_only and _is_address(host)):
            if len(self._accepted) < MAX_ACCEPTED:
                self._accepted.add(authority)
            return ""
        return f"Host {authority!r} is not this sandbox's: call its address, or allow that name (allowed_hosts, --allow-host)"

    @staticmethod
    def origin_problem(headers: Mapping[str, str]) -> str:
        """Why a request counts as one that another site's page has sent; empty if it does not."""
        origin = headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != headers.get("Host", "").lower():
            return f"Origin {origin!r} is not this sandbox's own: web pages of other origins may not use it"
        if headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            return "Sec-Fetch-Site says that a page of another site has sent this: it may not use the sandbox"
        return ""

    def has_token(self, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether a request carries the token: as ``Authorization: Bearer``, as ``?token=`` or in the page's cookie."""
        if not self._token:
            return True
        kind, _, bearer = headers.get("Authorization", "").partition(" ")
        given = bearer.strip() if kind.lower() == "bearer" else query.get("token") or _cookie(headers.get("Cookie", ""))
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    def cookie(self) -> str:
        """What the page's cookie is set to."""
        return f"{TOKEN_COOKIE}={self._token}; Path=/_sandbox/; HttpOnly; SameSite=Strict"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(TOKEN_COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
