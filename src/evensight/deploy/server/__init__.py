"""`evensight serve`: predictions over HTTP, each of them written to the prediction log."""
