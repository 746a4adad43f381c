"""What is kept on disk: a thread that commits in groups, for the journal of a fleet and the register of what is live."""
