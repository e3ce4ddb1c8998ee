"""Counts the primes below a number on all workers, and remembers what it found.

make run M=app.jobs.primes ARGS=3000000
"""

import sys

import ray

from seedcore import MwManager

CHUNK = 250_000  # numbers that one task looks at


@ray.remote
def count_primes(start: int, end: int) -> int:
    """How many primes there are from start to end - 1."""
    is_composite = bytearray(end)
    for number in range(2, int(end**0.5) + 1):
        if not is_composite[number]:
            is_composite[number * number :: number] = b"\1" * len(range(number * number, end, number))
    return is_composite[max(start, 2) :].count(0)


def main(limit: int) -> int:
    """Count them; the chunks that an earlier run counted are not counted again."""
    memory = MwManager("primes")
    chunks = {f"{start}-{min(start + CHUNK, limit)}": start for start in range(0, limit, CHUNK)}
    known = memory.get_items(list(chunks))
    missing = {
        chunk: count_primes.remote(start, min(start + CHUNK, limit))
        for chunk, start in chunks.items()
        if chunk not in known
    }
    for number, (chunk, task) in enumerate(missing.items(), start=1):
        known[chunk] = ray.get(task)
        memory.set_item(chunk, known[chunk])
        print(f"{number} of {len(missing)}: {known[chunk]} primes in {chunk}")
    print(f"{sum(known.values())} primes below {limit}; {len(chunks) - len(missing)} chunks were known already")
    return sum(known.values())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000)
