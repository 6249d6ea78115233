"""Stage 5: from a trained network to a folder that ships."""
