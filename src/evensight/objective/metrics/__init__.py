"""One metric an object, one kind of evidence a file; `names.METRICS` lists them."""
