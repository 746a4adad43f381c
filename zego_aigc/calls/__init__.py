"""One call, from a checked request to a typed result: attempts, retries, look-ups of what was lost, clean-up."""
