"""Prints the installed packages and their versions as one JSON object."""

import json
from importlib.metadata import distributions

if __name__ == "__main__":
    names = {
        str(found.metadata["Name"]).lower().replace("_", "-").replace(".", "-"): found.version
        for found in distributions()
    }
    print(json.dumps(names))
