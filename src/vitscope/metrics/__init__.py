"""Numbers on arrays: how far a map can be trusted."""
