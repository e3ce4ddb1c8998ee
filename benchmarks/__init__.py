"""`make bench`: this stack beside what one would take instead, in one run."""
