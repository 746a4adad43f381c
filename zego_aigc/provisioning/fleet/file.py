"""A fleet file on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from zego_aigc.provisioning.fleet.entries import Located, located_problem
from zego_aigc.provisioning.fleet.formats import HEAD, FleetUnreadable, Format, format_of, refusal
from zego_aigc.provisioning.fleet.json_lines import read_json_lines
from zego_aigc.provisioning.fleet.toml import read_toml

__all__ = ["Fleet"]


class Fleet:
    """A fleet file, which may be iterated over any number of times.

    Placeholders in string values are filled in: ``${NAME}`` and ``${NAME:-default}`` from the environment, so that
    credentials need not stand in the file. In TOML, an entry with ``Count`` is many, in which ``{n}`` and forms such as
    ``{n:03}`` stand for the numbers from 1; and so is one with ``Rows = "agents.csv"``, in which ``{column}`` stands for a
    cell of each row. A placeholder that is all of a value becomes a number or a boolean where the field takes one, and a
    value whose cell is empty is not sent. ``$${`` stands for a plain ``${``, and ``{{n}}`` for ``{n}``.

    Args:
        path: a ``.toml`` file, or one of JSON Lines under any other suffix.
        environ: where placeholders are looked up; the process's environment unless given.
        name: what places in the file are called by; its path unless given.
        folder: where the paths of ``Rows`` begin; the file's own folder unless given.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        environ: Mapping[str, str] | None = None,
        name: str | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.path: Path = Path(path)
        self._environ = os.environ if environ is None else environ
        self._name = str(self.path) if name is None else name
        self._folder = self.path.parent if folder is None else Path(folder)

    def __iter__(self) -> Iterator[Located]:
        """The entries in file order.

        Raises:
            FleetUnreadable: there is no such file, or it may not be read.
        """
        try:
            if self.path.suffix.lower() == ".toml":
                yield from read_toml(self.path.read_bytes(), self._name, self._folder, self._environ)
                return
            with self.path.open("rb") as file:
                found = format_of(self.path.name, file.read(HEAD))
                if found is not Format.JSON_LINES:
                    yield located_problem(self._name, "", "format", refusal(found))
                    return
                file.seek(0)
                yield from read_json_lines(file, self._name, self._environ)
        except OSError as error:
            raise FleetUnreadable(f"cannot read {self._name}: {error.strerror or error}") from error

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"Fleet({self._name!r})"
