"""The processes that train one run together: who each is, how they start, talk, and end."""
