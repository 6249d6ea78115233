"""What watches a fit; one thing a file."""
