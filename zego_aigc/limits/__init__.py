"""Who may go, and when: the calls of a second, the live instances of an account, the retries of an outage."""
