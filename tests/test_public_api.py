"""What was promised stays."""

from __future__ import annotations

import public_api
import pytest


def test_nothing_that_is_stored_was_removed() -> None:
    gone = public_api.removed(public_api.stored(), public_api.public_api())
    assert gone == [], "if it is meant: say so in CHANGELOG.md and run `python tests/public_api.py --write`"


@pytest.mark.parametrize(
    ("before", "after", "gone"),
    [
        (["a", "b"], ["a"], ["b"]),
        (["a", "a(x=)"], ["a", "a(x)"], ["a(x=)", "a(x)"]),
        (["a", "a(x)"], ["a", "a(x)", "a(y)"], ["a(y)"]),
        (["a", "a(x)"], ["a", "a(x)", "a(*, y)"], ["a(*, y)"]),
        (["a", "a(x)"], ["a", "a(x)", "a(*, y=)", "a(**rest)", "b", "b(z)", "a.c()", "a.c(x)"], []),
    ],
)
def test_a_name_that_goes_and_a_parameter_that_is_asked_for_anew_break_it(
    before: list[str], after: list[str], gone: list[str]
) -> None:
    assert public_api.removed(before, after) == gone
