"""For how long answers are taken at their word that come later than the guard explains.

Such an answer may have been worked on for long; or its request was held up on the way, as by a machine that stalls, and has
arrived when the answer says and not when the guard does. To wait for what it says is safe, and costs the pace. So there is an
account: each served request pays a little into it, and each late answer takes out what its token stays out longer.

* Where few answers are later than the guard, all of them are believed.
* Where many are, by no more than another guard, delay varies on both ways by as much as the guard allows: the way back explains
  them, and they cost nothing. Those that are later still are believed.
* Where many are later than two guards it is the service that takes its time, and the guard is as good as before: then the
  income is such that a quarter of a percent of the pace is all that it may cost.

Nothing here reads a clock.
"""

from __future__ import annotations

__all__ = ["INCOME", "INCOME_OF_MANY", "MAX_BALANCE", "LateAnswers"]

INCOME = 0.03
"""In windows, what each served request pays in while few answers are later than two guards."""
INCOME_OF_MANY = 0.0025
"""In windows, what it pays in while many are."""
MAX_BALANCE = 0.3
"""In windows and tokens, what the account holds at most: enough for a stall of 300 ms with every token out."""
_MANY = 0.3
"""The share of answers from which on they are many: ten in a row, as after a stall, are not."""
_MEMORY = 32
"""How many answers the share is taken of, the latest counting most."""


class LateAnswers:
    """The account of one Action.

    Args:
        limit: how many requests the server takes in any one window.
        window: its length in seconds.
    """

    __slots__ = ("_balance", "_late", "_max_balance", "_unpaid", "_very_late", "_window", "punctual")

    def __init__(self, limit: int, window: float) -> None:
        self._window = window
        self._max_balance = MAX_BALANCE * limit * window
        self._balance = self._max_balance
        self._late = 0.0  # the share of answers that are later than the guard,
        self._very_late = 0.0  # and than two guards
        self._unpaid = 0  # answers of which the income is not counted yet
        self.punctual: int = 0
        """Served requests since the last late answer; the code that sees them counts them here."""

    def income(self, seconds: float, guard: float) -> float | None:
        """Take note of an answer that came so many seconds later than the guard explains.

        Returns:
            what it and the punctual ones before it pay in, in seconds; None if it is explained all the same.
        """
        answers = self.punctual + 1
        self.punctual = 0
        self._unpaid += answers
        fade = (1 - 1 / _MEMORY) ** answers
        is_very_late = seconds > guard
        self._late = self._late * fade + 1 / _MEMORY
        self._very_late = self._very_late * fade + is_very_late / _MEMORY
        if not is_very_late and self._late >= _MANY:
            return None
        income = self._unpaid * (INCOME if self._very_late < _MANY else INCOME_OF_MANY) * self._window
        self._unpaid = 0
        return income

    def withdraw(self, seconds: float, guard: float) -> bool:
        """Take note of a late answer, as :meth:`income` does; whether its token is to stay out so many seconds longer."""
        if (income := self.income(seconds, guard)) is None:
            return False
        self._balance = min(self._balance + income, self._max_balance)
        if seconds > self._balance:
            return False
        self._balance -= seconds
        return True
