"""SeedCore: shared state for Ray applications in named singleton actors."""
