"""Your singleton actors: each row of `SINGLETONS` lives once, and is there before the API starts."""

from seedcore import MwManager, Singleton


class Visits:
    """Counts the visits of pages. The memory keeps the counts, so they survive the death of this process."""

    def __init__(self) -> None:
        self._memory = MwManager("visits")
        self._counts: dict[str, int] = self._memory.get_item("counts", default={})

    def add(self, page: str) -> int:
        """Count one more visit of a page; all of its visits."""
        self._counts[page] = self._counts.get(page, 0) + 1
        self._memory.set_item("counts", self._counts)
        return self._counts[page]

    def counts(self) -> dict[str, int]:
        """The visits of each page."""
        return self._counts

    def stats(self) -> dict[str, int]:
        """What `make monitor`, the status page and `/metrics` show; need not be there."""
        return {"pages": len(self._counts), "visits_total": sum(self._counts.values())}


SINGLETONS = [
    Singleton("visits", Visits),
]
