"""Docstrings hold roles such as ``:class:`~zego_aigc.Client```, which every editor shows; the site makes them links."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`(~?)([\w.]+)(?:\(\))?`")


def link(role: re.Match[str]) -> str:
    """A link to what a role names, where it has a place in the reference; else its name alone."""
    short, name = role.groups()
    shown = name.rpartition(".")[2] if short else name.removeprefix("zego_aigc.")
    return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'


class SphinxRoles(griffe.Extension):
    """Rewrites the roles of every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """When one object with its members has been read."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(link, obj.docstring.value)
