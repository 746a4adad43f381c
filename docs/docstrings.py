"""Docstrings are written for editors, with roles and literal blocks. The site's build makes links and fenced code of them."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`(~?)([\w.]+)(?:\(\))?`")
BLOCK = re.compile(r"(?:(?P<alone>^::)|::)\n\n(?P<code>(?:(?: {4}.*)?\n?)+)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """When one object with its members has been read."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(link, fenced(obj.docstring.value, "python"))


def link(role: re.Match[str]) -> str:
    """A link to what a role names, where it has a place in the reference; else its name alone."""
    short, name = role.groups()
    shown = name.rpartition(".")[2] if short else name.removeprefix("zego_aigc.")
    return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'


def fenced(text: str, language: str) -> str:
    """A docstring's literal blocks as Markdown has them."""

    def fence(block: re.Match[str]) -> str:
        colon = "" if block["alone"] else ":"
        return f"{colon}\n\n```{language}\n{textwrap.dedent(block['code']).strip()}\n```\n\n"

    return BLOCK.sub(fence, text)
