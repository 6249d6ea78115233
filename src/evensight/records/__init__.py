"""What outlives a stage: the artifact's contract and its reader."""
