"""A picture of the calls' cost, as SVG, drawn by hand: bars on a logarithmic scale, shortest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.report import Table

WIDTH, BAR, GAP, LABEL = 760, 18, 8, 230


def bars(tables: Sequence[Table]) -> str:
    """The tables of the part ``calls``, one below the other; light or dark as the page is."""
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
