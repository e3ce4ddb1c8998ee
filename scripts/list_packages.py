"""Prints the installed packages and their versions as one JSON object."""

import json
from importlib.metadata import distributions

if __name__ == "__main__":
    print(json.dumps({found.metadata["Name"]: found.version for found in distributions()}))
