"""What `make` can be told, a file for each group of verbs; `scripts/host/stack.py` has the table."""
