"""Check the built site: ``python docs/check_site.py build/site``. mkdocs checks less: what it warns of fails the build already.

- Every link within the site leads to a page, and its anchor to a place there.
- Opening a page asks no other host for anything.
- Every page, and a place for every name of the public API, is reached from the first page with three clicks.
- The search finds what people look for.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

PUBLIC_API = Path(__file__).parent.parent / "tests" / "data" / "public_api.txt"

CLICKS = 3
LOOKED_FOR = ["quota", "410001030", "CreateDigitalHumanStreamTask", "--journal", "zego_live_sandbox", "ZEGO_PROXY"]
"""Words of which each must be on a page that the search knows."""

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "object": "data"}
"""What a browser fetches by itself. Of ``link`` it is all but what only points somewhere."""


class HTMLPage(HTMLParser):
    """What a page has, links to and loads."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADS and LOADS[tag] in given:
            self.loads.append(given[LOADS[tag]])
        if tag == "link" and given.get("rel") not in {"canonical", "prev", "next", "alternate"}:
            self.loads.append(given.get("href", ""))
        if "mermaid" in given.get("class", "").split():
            self.loads.append("https://unpkg.com/mermaid")  # by the theme's script, on sight of the class


def check(site: Path) -> Iterator[str]:
    """What is wrong with a site, a sentence each."""
    pages = {file.relative_to(site).as_posix(): HTMLPage(file) for file in sorted(site.rglob("*.html"))}
    yield from broken_links(site, pages)
    yield from foreign_assets(site, pages)
    yield from unreachable(pages)
    yield from unfindable(site)


def resolve(page: str, link: str) -> tuple[str, str] | None:
    """The page and the anchor to which a link leads; None if it leaves the site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = unquote(parts.path)
    target = (Path("/") / Path(page).parent / path).resolve() if path else Path("/") / page
    return (target / "index.html" if path.endswith("/") or path == "." else target).relative_to("/").as_posix(), unquote(
        parts.fragment
    )


def broken_links(site: Path, pages: dict[str, HTMLPage]) -> Iterator[str]:
    """Links that lead nowhere."""
    for name, page in pages.items():
        if name == "404.html":  # its links begin at the root of a server
            continue
        for link in dict.fromkeys(page.links):
            target = resolve(name, link)
            if target is None or target[0] == ".":
                continue
            path, anchor = target
            if not (site / path).is_file():
                yield f"{name}: {link} leads to no page"
            elif anchor and anchor not in pages[path].anchors:
                yield f"{name}: {link} leads to no place on its page"


def foreign_assets(site: Path, pages: dict[str, HTMLPage]) -> Iterator[str]:
    """What a browser would ask another host for."""
    for name, page in pages.items():
        yield from (f"{name} loads {load} from another host" for load in page.loads if re.match(r"(\w+:)?//", load))
    for sheet in site.rglob("*.css"):
        for url in re.findall(r"url\(['\"]?((?:https?:)?//[^)'\"]+)|@import", sheet.read_text(encoding="utf-8")):
            yield f"{sheet.relative_to(site)} loads {url} from another host"


def unreachable(pages: dict[str, HTMLPage]) -> Iterator[str]:
    """Pages that are too far from the first page, and public names without a place near enough."""
    names = {line.partition("(")[0] for line in PUBLIC_API.read_text(encoding="utf-8").splitlines()}
    clicks = {"index.html": 0}
    for distance in range(1, CLICKS):  # the last click is for the place on its page
        for page in [page for page, away in clicks.items() if away == distance - 1]:
            for link in pages[page].links:
                target = resolve(page, link)
                if target is not None and target[0] in pages:
                    clicks.setdefault(target[0], distance)
    yield from (
        f"{page} is more than {CLICKS} clicks away from the first page" for page in pages.keys() - clicks.keys() - {"404.html"}
    )
    near = {anchor for page in clicks for anchor in pages[page].anchors}
    far = {anchor for page in pages.values() for anchor in page.anchors} - near
    for name in sorted(names):
        place = name.removeprefix("pytest fixture ").replace(" ", "-")
        if place in far:
            yield f"{name} is more than {CLICKS} clicks away from the first page"
        elif place not in near:
            yield f"{name} has no place in the site"


def unfindable(site: Path) -> Iterator[str]:
    """Words that the search does not know."""
    entries = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    for word in LOOKED_FOR:
        if not any(word in entry["title"] or word in entry["text"] for entry in entries):
            yield f"the search does not find {word}"


def main() -> int:
    """Print what is wrong."""
    problems = list(check(Path(sys.argv[1])))
    print("\n".join(problems) or "the site is as it should be")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
