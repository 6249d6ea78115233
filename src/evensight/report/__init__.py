"""The page a run ends in, and its last lines: read from files alone."""
