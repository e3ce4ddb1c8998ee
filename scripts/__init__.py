"""Command-line tools, each run as `python -m scripts.NAME`."""
