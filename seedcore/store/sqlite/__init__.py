"""The engine that keeps a store in one SQLite file: one writer, many readers."""
