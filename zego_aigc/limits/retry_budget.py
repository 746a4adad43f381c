"""A budget of retries, so that they do not multiply an outage. Pure."""

from __future__ import annotations

__all__ = ["RetryBudget"]


class RetryBudget:
    """Keeps retries from multiplying an outage: each costs tokens that successes earn back slowly.

    Args:
        capacity: tokens at the start and at most.
        cost: tokens that a retry takes after a failure.
        later_cost: tokens that a retry takes after the service said "later".
        refund: tokens that a call which succeeds gives back.
    """

    __slots__ = ("capacity", "cost", "later_cost", "refund", "tokens")

    def __init__(self, capacity: float = 500.0, cost: float = 5.0, later_cost: float = 1.0, refund: float = 1.0) -> None:
        self.capacity: float = capacity
        self.cost: float = cost
        self.later_cost: float = later_cost
        self.refund: float = refund
        self.tokens: float = capacity

    def spend(self, *, later: bool = False) -> bool:
        """Take a retry's cost; False when there is not enough left, and then nothing is taken."""
        cost = self.later_cost if later else self.cost
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def earn(self) -> None:
        """A call succeeded."""
        if self.tokens < self.capacity:
            self.tokens = min(self.capacity, self.tokens + self.refund)
