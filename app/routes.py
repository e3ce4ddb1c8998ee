"""Your routes: `router` is part of the API, see its documentation at /docs."""

import ray
from fastapi import APIRouter

from seedcore import get_singleton

router = APIRouter(prefix="/visits", tags=["visits"])


@router.get("")
def visits() -> dict[str, int]:
    """The visits of each page."""
    counts: dict[str, int] = ray.get(get_singleton("visits").counts.remote())
    return counts


@router.post("/{page}")
def visit(page: str) -> int:
    """Count one more visit of a page; all of its visits."""
    count: int = ray.get(get_singleton("visits").add.remote(page))
    return count
