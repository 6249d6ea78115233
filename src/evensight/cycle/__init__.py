"""All six stages, once around: simulated traffic, the alarm, the answer to it, and the page that tells it."""
