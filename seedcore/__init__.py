"""SeedCore: shared state for Ray applications in named singleton actors."""

from seedcore import code_version as code_version  # first, so that it sees the source that the others are loaded from
