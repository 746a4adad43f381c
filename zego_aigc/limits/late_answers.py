"""For how long answers are taken at their word that come later than the guard explains.

Such an answer may have been worked on for long; or its request was held up on the way, as by a machine that stalls, and has
arrived when the answer says and not when the guard does. To wait for what it says is safe, and costs the pace. So there is an
account: each served request pays a little into it, and each late answer takes out what its token stays out longer. Where few
answers are late the income is enough for single slow packets; where many are, it is the service that takes its time, and the
guard is as good as before: then a quarter of a percent of the pace is all that it may cost.

Nothing here reads a clock.
"""

from __future__ import annotations

__all__ = ["INCOME", "INCOME_OF_MANY", "MAX_BALANCE", "LateAnswers"]

INCOME = 0.03
"""In windows, what each served request pays in while few answers are late."""
INCOME_OF_MANY = 0.0025
"""In windows, what it pays in while many are."""
MAX_BALANCE = 0.3
"""In windows and tokens, what the account holds at most: enough for a stall of 300 ms with every token out."""
_MANY = 0.3
"""The share of late answers from which on they are many."""
_MEMORY = 32
"""How many answers the share is taken of, the latest counting most."""


class LateAnswers:
    """The account of one Action.

    Args:
        limit: how many requests the server takes in any one window.
        window: its length in seconds.
    """

    __slots__ = ("_balance", "_max_balance", "_share", "_window", "punctual")

    def __init__(self, limit: int, window: float) -> None:
        self._window = window
        self._max_balance = MAX_BALANCE * limit * window
        self._balance = self._max_balance
        self._share = 0.0
        self.punctual: int = 0
        """Served requests since the last late answer; the code that sees them counts them here."""

    def income(self) -> float:
        """A late answer has come: seconds that the punctual ones before it and itself have paid in."""
        self._share = self._share * (1 - 1 / _MEMORY) ** (self.punctual + 1) + 1 / _MEMORY
        income = (self.punctual + 1) * (INCOME if self._share < _MANY else INCOME_OF_MANY) * self._window
        self.punctual = 0
        return income

    def withdraw(self, seconds: float) -> bool:
        """A late answer has come: whether its token may stay out so many seconds longer."""
        self._balance = min(self._balance + self.income(), self._max_balance)
        if seconds > self._balance:
            return False
        self._balance -= seconds
        return True
