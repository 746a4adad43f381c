"""Programs to copy from; each says how it is run."""
