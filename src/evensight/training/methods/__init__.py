"""Ways to train: one file and one line in `names.METHODS` each."""
