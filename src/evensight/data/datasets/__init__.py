"""Data sets that evensight draws or knows by name; each is a reader with its own configuration."""
