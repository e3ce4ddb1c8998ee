"""Plain Ray, as users write it: names no namespace and finds the singletons. Prints where it and its task looked.

python -m scripts.plain_driver NAME...
"""

import json
import sys
from typing import Any

import ray


def find(names: list[str]) -> str:
    """Look all of these actors up; the namespace in which they were found."""
    for name in names:
        ray.get_actor(name)
    return str(ray.get_runtime_context().namespace)


def main(names: list[str]) -> int:
    """Look from the driver and from a task."""
    ray.init()
    task: Any = ray.remote(num_cpus=1)(find)
    print(json.dumps({"driver": find(names), "task": ray.get(task.remote(names))}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
