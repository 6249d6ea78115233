"""Stage 6, the way back: what to annotate, a new version of the data, a challenger, and whether it takes over."""
