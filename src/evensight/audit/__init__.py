"""Stage 2: looks at images and annotations before training, and says what would teach a model the wrong thing."""
