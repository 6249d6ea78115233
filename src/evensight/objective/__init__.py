"""Stage 1: what a model must meet, the evidence for it, and the verdict."""
