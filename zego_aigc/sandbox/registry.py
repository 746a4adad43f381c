"""Which function carries out which Action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App
    from zego_aigc.schema.actions import Action

__all__ = ["BEHAVIOURS", "answers"]

ActionT = TypeVar("ActionT", bound="Action[Any]")

BEHAVIOURS: dict[str, Callable[[App, Any], Mapping[str, Any] | None]] = {}
"""By Action name. A behaviour never awaits: each call is carried out whole, however many arrive at once."""


def answers(
    action: type[ActionT],
) -> Callable[
    [Callable[[App, ActionT], Mapping[str, Any] | None]],
    Callable[[App, ActionT], Mapping[str, Any] | None],
]:
    """Register the function that carries out an Action.

    It takes the app and the decoded request, and returns the answer's ``Data`` in wire form or raises
    :class:`~zego_aigc.sandbox.refusal.Refusal`.
    """

    def register(
        behaviour: Callable[[App, ActionT], Mapping[str, Any] | None],
    ) -> Callable[[App, ActionT], Mapping[str, Any] | None]:
        BEHAVIOURS[action.__name__] = behaviour
        return behaviour

    return register
