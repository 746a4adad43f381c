"""Pictures as SVG, drawn by hand: what calls cost, and when requests arrive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.report import Table

WIDTH, BAR, GAP, LABEL = 760, 18, 8, 230
MARGIN, LANE, SHOWN = 150, 48, 5.0
"""Sizes of the arrivals, and how many seconds of them are shown, from the middle of the run."""


def bars(tables: Sequence[Table]) -> str:
    """The tables of the part ``calls``, one below the other, as bars on a logarithmic scale; light or dark as the page is."""
    parts: list[str] = []
    top = 10.0
    for table in tables:
        if table.part != "calls":
            continue
        ratio = list(table.columns).index("x aiohttp")
        rows = sorted((float(row[ratio] or 0), str(row[0])) for row in table.rows if row[ratio])
        parts.append(
            f'<text class="title" x="0" y="{top + 14:.0f}">{escape(table.title)}: CPU time, aiohttp = 1, logarithmic</text>'
        )
        top += 28
        scale = (WIDTH - LABEL - 60) / math.log(max(2.0, rows[-1][0]) / 0.5)
        for value, name in rows:
            width = max(2.0, math.log(value / 0.5) * scale)
            ours = ' class="ours"' if name.startswith("zego_aigc") else ""
            parts.append(
                f'<text class="label" x="{LABEL - 8}" y="{top + 13:.0f}">{escape(name)}</text>'
                f'<rect{ours} x="{LABEL}" y="{top:.0f}" width="{width:.1f}" height="{BAR}" rx="2"/>'
                f'<text x="{LABEL + width + 6:.0f}" y="{top + 13:.0f}">{value:.2f}</text>'
            )
            top += BAR + GAP
        top += 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" width="{WIDTH}" height="{top:.0f}" '
        'role="img" aria-label="CPU time of a call, relative to aiohttp">\n'
        "<style>text{font:12px system-ui,sans-serif;fill:#333}.title{font-weight:600}.label{text-anchor:end}"
        "rect{fill:#9aa7b4}.ours{fill:#2f6fed}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}rect{fill:#5b6672}}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def arrivals(courses: dict[str, list[float]]) -> str:
    """When requests arrived at the service, for each contender: a mark each, as high as its count in the second before."""
    scale = (WIDTH - MARGIN - 20) / SHOWN
    parts: list[str] = []
    for row, (name, times) in enumerate(courses.items()):
        base = 40.0 + row * LANE
        parts.append(f'<text class="label" x="{MARGIN - 12}" y="{base + 16:.0f}">{escape(name)}</text>')
        parts.append(f'<line class="axis" x1="{MARGIN}" x2="{WIDTH - 20}" y1="{base + 24:.0f}" y2="{base + 24:.0f}"/>')
        middle = (times[0] + times[-1]) / 2
        start = next(arrival for arrival in times if arrival >= middle)
        for number, arrival in enumerate(times):
            if not start <= arrival < start + SHOWN:
                continue
            crowd = sum(arrival - other <= 1.0 for other in times[max(0, number - 30) : number + 1])
            height = min(32.0, 1.6 * crowd)
            parts.append(
                f'<line class="{"over" if crowd > 10 else "in"}" x1="{MARGIN + (arrival - start) * scale:.1f}" '
                f'x2="{MARGIN + (arrival - start) * scale:.1f}" y1="{base + 24:.0f}" y2="{base + 24 - height:.1f}"/>'
            )
    bottom = 40 + len(courses) * LANE
    parts += [
        f'<text class="tick" x="{MARGIN + second * scale:.0f}" y="{bottom + 8}">{second} s</text>'
        for second in range(int(SHOWN) + 1)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 20}" width="{WIDTH}" height="{bottom + 20}" '
        'role="img" aria-label="Arrivals at the service in five seconds, for each limiter">\n'
        "<style>text{font:12px system-ui,sans-serif;fill:#333}.title{font-weight:600}.label{text-anchor:end}"
        ".tick{text-anchor:middle;fill:#777}.axis{stroke:#bbb}.in{stroke:#2f6fed;stroke-width:1.5}"
        ".over{stroke:#d33;stroke-width:1.5}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.axis{stroke:#555}.over{stroke:#f66}}</style>\n"
        '<text class="title" x="0" y="16">Arrivals at the service; as high as their count in the second before, '
        "red where that is over 10</text>\n" + "\n".join(parts) + "\n</svg>\n"
    )
