"""One thing that a fleet should have: an Action, the key it is known by, and what must exist before it."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from zego_aigc.calls.lookup import is_same
from zego_aigc.schema.actions import Action
from zego_aigc.schema.fields import FieldSpec, Kind, fields_of
from zego_aigc.schema.lifecycle import Names, names_in
from zego_aigc.schema.redaction import MASK, mask_map

__all__ = ["Entry", "default_key", "described", "digest", "is_described", "mask", "unseen_life", "whereabouts"]


class Entry(msgspec.Struct, frozen=True):
    """An Action to carry out once, under a key that stays the same from run to run.

    ``Entry(RegisterAgent(agent_id="host"))`` has the key ``RegisterAgent:host``. An instance waits by itself for the
    agent that the same fleet registers; `after` is for everything else.
    """

    action: Action[Any]
    """What to do."""
    key: str | None = None
    """By what the journal knows it. Default: the Action's name with its stream id, its agent id, or a digest."""
    after: Sequence[str] = ()
    """Keys of entries that must be done first."""


def whereabouts(stream_id: str | None, room_id: str | None) -> str | None:
    """Where an instance or a stream task is to be found, in words."""
    return None if stream_id is None else f"stream {stream_id!r} in room {room_id!r}"


def default_key(action: Action[Any], spec: str, names: Names | None = None) -> str:
    """The key of an entry that was given none; `spec` is its :func:`digest`, `names` are those in it where they are known."""
    life = action.lifecycle
    named = getattr(names or names_in(action), life.unique[0]) if life is not None and life.unique else None
    return f"{type(action).__name__}:{named or spec[:16]}"


def digest(action: Action[Any]) -> str:
    """32 hex digits that change when the request does, its secrets apart: a rotated ApiKey is the same spec."""
    return described(action)[0]


MAX_SPEC = 4096
"""Bytes of a spec from which on its long texts are left out."""

MAX_TEXT = 200
"""Characters of a text that are kept in a spec that is longer than that."""


def described(action: Action[Any]) -> tuple[str, str]:
    """The :func:`digest` of a request and its spec as the journal keeps it: JSON, secrets masked and long texts shortened."""
    cls = type(action)
    try:
        shown = msgspec.to_builtins(action)
    except TypeError:  # a map of a kind that msgspec does not know
        shown = action.to_wire()
    mask(cls, shown)
    text = msgspec.json.encode([cls.__name__, shown], order="deterministic")
    digits = hashlib.sha256(text).hexdigest()[:32]
    if len(text) > MAX_SPEC:
        return digits, msgspec.json.encode(_shortened(shown), order="deterministic").decode()
    return digits, text[len(cls.__name__) + 4 : -1].decode()


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        known_by = hashlib.sha256(value.encode()).hexdigest()[:8]
        return f"{value[: MAX_TEXT // 2]}... ({len(value)} characters, {known_by})"
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def mask(cls: type[msgspec.Struct], body: dict[str, Any]) -> None:
    """Mask secrets in a body that is ours to change; a request that can hold none costs nothing."""
    if extra := body.pop("__extra__", None):
        body.update(mask_map(extra))
    for spec in _sensitive(cls):
        value = body.get(spec.wire)
        if not value:
            continue
        if spec.kind is Kind.OBJECT:
            mask(spec.struct, value)
        elif spec.kind is Kind.LIST and spec.item is not None and spec.item.kind is Kind.OBJECT:
            for item in value:
                mask(spec.item.struct, item)
        elif spec.secret is not None and not spec.secret.keys:
            body[spec.wire] = MASK
        else:
            body[spec.wire] = mask_map(value, spec.secret.keys if spec.secret else ())


@functools.cache
def _sensitive(cls: type[msgspec.Struct]) -> tuple[FieldSpec, ...]:
    """The fields that may hold a secret, or something that is newer than this library."""
    return tuple(
        spec
        for spec in fields_of(cls)
        if spec.secret is not None or {spec.kind, spec.item.kind if spec.item else None} & {Kind.OBJECT, Kind.MAP, Kind.ANY}
    )


def is_described(spec: str, kept: Mapping[str, Any]) -> bool:
    """Whether what the service keeps is what a request asked for, as far as the journal knows that.

    Args:
        spec: of the request, as :func:`described` gives it.
        kept: in wire form.
    """
    return is_same(msgspec.json.decode(spec), kept, same_text=_is_described_text)


def _is_described_text(text: str, kept: str) -> bool:
    return text in {kept, MASK, _shortened(kept)}


def unseen_life(action: Action[Any]) -> int | None:
    """After how many seconds what this Action makes has ended by itself if nobody uses it; None for what stays."""
    life = action.lifecycle
    if life is None:
        return None
    idle, longest = life.idle_time(action), life.longest_life(action)
    return idle if longest == math.inf else min(int(longest), idle or int(longest))
