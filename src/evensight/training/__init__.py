"""Stage 3: fit a network by a method, watch it group by group, keep the best checkpoint."""
