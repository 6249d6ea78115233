"""Stage 4: what an artifact does on a split, measured through the file that ships."""
