"""The memory on Valkey, or Redis: every process talks to it directly."""
