"""Drawings as SVG that follow the reader's light or dark mode: boxes, arrows, and what pages say in Mermaid's notation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

__all__ = ["Drawing", "from_mermaid", "sequence"]

STYLE = """\
text{font:14px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#2b2f3a}
.sheet{fill:#fff}.head{font-weight:600}.small{font-size:12px}.halo{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}.faint{fill:#6a7080}
.box{fill:#eef1fb;stroke:#7986cb}.good{fill:#e6f4ea;stroke:#5a9e6f}.bad{fill:#fdecea;stroke:#cc6055}.plain{fill:#f6f6f8;stroke:#a9adb8}
.frame{fill:none;stroke:#a9adb8;stroke-dasharray:5 4}
.line{stroke:#5c6370;fill:none;stroke-width:1.3}.life{stroke:#c3c6ce}.dashed{stroke-dasharray:5 4}.tip{fill:#5c6370}
@media(prefers-color-scheme:dark){.sheet{fill:#1e2129}.halo{stroke:#1e2129}text{fill:#dfe2ea}.faint{fill:#9aa0ae}
.box{fill:#2b3157;stroke:#7986cb}.good{fill:#1f3d2a;stroke:#5a9e6f}.bad{fill:#4a2522;stroke:#cc6055}.plain{fill:#2d3038;stroke:#70757f}
.frame{stroke:#70757f}.line{stroke:#aab0bd}.life{stroke:#4c515c}.tip{fill:#aab0bd}}"""


NAMESPACE = "http://www.w3.org/2000/svg"
TIP = """\
<marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path class="tip" d="M0 0.5L8 4L0 7.5z"/></marker>"""


class Drawing:
    """Boxes, arrows and text on a sheet; lengths are in pixels."""

    def __init__(self, width: int, height: int, about: str) -> None:
        self.height = height
        self.about = about
        self.parts = [
            f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
            f"<title>{escape(about)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="sheet" width="{width}" height="{height}" rx="8"/>',
            TIP,
        ]

    def box(
        self, x: float, y: float, width: float, height: float, lines: Sequence[str], kind: str = "box", head: str = "head"
    ) -> None:
        """A box with lines of text in its middle, the first one in a style of its own."""
        self.parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>')
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            self.text(x + width / 2, top + 18 * number, line, "middle", "small" if number else head)

    def frame(self, x: float, y: float, width: float, height: float, title: str) -> None:
        """What encloses boxes."""
        self.parts.append(f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>')
        self.text(x + 12, y + 20, title, "start", "small faint")

    def text(self, x: float, y: float, line: str, anchor: str = "middle", kind: str = "small") -> None:
        """A line of text."""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{escape(line)}</text>')

    def arrow(
        self, *points: tuple[float, float], text: str = "", at: tuple[float, float] | None = None, dashed: bool = False
    ) -> None:
        """A line through points with a tip at its end, and a text: above its middle unless placed."""
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<path class="line{" dashed" if dashed else ""}" d="{path}" marker-end="url(#tip)"/>')
        if text:
            (x1, y1), (x2, y2) = points[0], points[-1]
            x, y = at or ((x1 + x2) / 2, (y1 + y2) / 2 - 6)
            self.text(x, y, text, "middle", "small halo")

    def life(self, x: float, top: float, bottom: float) -> None:
        """The line under a participant of a sequence."""
        self.parts.append(f'<path class="line life" d="M{x:g} {top:g}V{bottom:g}"/>')

    def svg(self) -> str:
        """The whole file."""
        return "\n".join([*self.parts, "</svg>", ""])


Message = tuple[int, int, str]
"""From which participant to which, and what: ``<`` begins an answer, ``!`` an end."""


def sequence(about: str, participants: Sequence[Sequence[str]], messages: Sequence[Message], column: int = 150) -> Drawing:
    """Who sends what to whom, from top to bottom."""
    step, top = 34, 54
    width, height = column * len(participants), top + step * len(messages) + 22
    drawing = Drawing(width, height, about)
    middle = [column * (number + 0.5) for number in range(len(participants))]
    for x, lines in zip(middle, participants, strict=True):
        drawing.life(x, 50, height - 8)
        drawing.box(x - column / 2 + 3, 8, column - 6, 42, lines, "plain", "small head" if column < 140 else "head")
    for number, (start, end, text) in enumerate(messages, 1):
        y = top + step * number
        if text.startswith("!"):
            drawing.box(middle[start] - column / 2 + 6, y - 20, column - 12, 26, [text[1:].strip()], "bad")
            continue
        left, right = sorted((middle[start], middle[end]))
        if start == end:
            drawing.arrow((left, y - 12), (left + 14, y - 12), (left + 14, y), (left + 1, y))
            left, right, y = left + 12, left + 12, y + 4
        else:
            drawing.arrow((middle[start], y), (middle[end], y), dashed=text.startswith("<"))
        label = text.removeprefix("<").strip()
        reach = 6.1 * len(label)
        if reach < right - left:
            drawing.text((left + right) / 2, y - 6, label, "middle", "small halo")
        elif left + 6 + reach < width:
            drawing.text(left + 6, y - (6 if right > left else 0), label, "start", "small halo")
        else:
            drawing.text(min(right + reach / 2, width - 6), y - 6, label, "end", "small halo")
    return drawing


def stack(about: str, layers: Sequence[Sequence[str]]) -> Drawing:
    """Layers, each of which may use those below it."""
    heights = [18 * len(lines) + 16 for lines in layers]
    drawing = Drawing(640, sum(heights) + 16 * len(layers), about)
    top = 8.0
    for height, lines in zip(heights, layers, strict=True):
        drawing.box(40, top, 560, height, lines, kind="box", head="small")
        if top + height + 16 < drawing.height:
            drawing.arrow((320, top + height), (320, top + height + 16))
        top += height + 16
    return drawing


def from_mermaid(source: str) -> Drawing:
    """A drawing from what of Mermaid's notation the pages use: sequences, and stacks of layers.

    Raises:
        ValueError: for any other.
    """
    if "sequenceDiagram" in source:
        heads = dict(re.findall(r"^ *participant (\w+) as (.*)$", source, re.MULTILINE))
        order = list(heads)
        found = re.findall(r"^ *(\w+)(-{1,2})>>(\w+): (.*)$", source, re.MULTILINE)
        messages = [(order.index(start), order.index(end), "< " * (line == "--") + text) for start, line, end, text in found]
        names = [lines_of(head) for head in heads.values()]
        return sequence(f"Calls between {', '.join(map(' '.join, names))}", names, messages, column=122)
    if "flowchart TB" in source:
        layers = [lines_of(layer) for layer in re.findall(r'^ *\w+\["(.*)"\]$', source, re.MULTILINE)]
        return stack(f"Layers, from {layers[0][0]} down to {layers[-1][0]}", layers)
    raise ValueError(f"drawing.py does not know this kind of drawing: {source.partition(chr(10))[0]}")


def lines_of(label: str) -> list[str]:
    """The lines of a label, without markup."""
    return [re.sub(r"</?\w+>", "", line) for line in label.split("<br/>")]
