"""Organ items, shared items and hot items over HTTP. Values come as JSON and nothing is ever unpickled."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path, Query, Response

from seedcore.api import middleware, problems
from seedcore.api.json_bodies import JsonRoute
from seedcore.api.json_values import to_json_value
from seedcore.api.models import (
    Deleted,
    HotItemOut,
    ItemIds,
    ItemIn,
    ItemOut,
    ItemsIn,
    ItemsOut,
    Kept,
    Key,
    UnreadableItem,
)
from seedcore.errors import InvalidValueError, SeedCoreError, UnreadableItemsError
from seedcore.event_loop import INLINE_ITEMS
from seedcore.memory.found_items import FoundItem, Source
from seedcore.memory.working_memory import MwManager
from seedcore.store.engine import HotItem
from seedcore.store.values.codec import is_small

MAX_MANAGERS: Final = 1024  # organs whose manager is kept at hand
MAX_HOT_ITEMS: Final = 10_000  # in one answer
API_ORGAN: Final = "seedcore-api"  # the organ in whose name shared items and hot items are asked for

ASKS: Final = problems.told(HTTPStatus.SERVICE_UNAVAILABLE)
FINDS: Final = problems.told(HTTPStatus.NOT_FOUND)
WRITES: Final = problems.told(HTTPStatus.INSUFFICIENT_STORAGE)

organs = APIRouter(prefix="/organs/{organ_id}/items", tags=["organ items"], route_class=JsonRoute, responses=ASKS)
shared = APIRouter(prefix="/shared-items", tags=["shared items"], route_class=JsonRoute, responses=ASKS)
hot = APIRouter(tags=["hot items"], responses=ASKS)

ITEM: Final = "/{item_id:path}"
MISSING: Final = object()
OrganId = Annotated[Key, Path(description="of the organ; a slash in it as %2F", examples=["agent-1"])]
ItemId = Annotated[Key, Path(description="of the item; a slash in it as %2F", examples=["plan"])]


@lru_cache(maxsize=MAX_MANAGERS)
def _manager(organ_id: str) -> MwManager:
    return MwManager(organ_id)


@organs.get(ITEM, response_model=ItemOut, responses=FINDS)
async def get_organ_item(organ_id: OrganId, item_id: ItemId) -> Response:
    """The organ's item, else the shared one; if there is neither, 404, and a miss is counted."""
    return await _one(item_id, await _manager(organ_id).find_item_async(item_id))


@organs.put(ITEM, responses=WRITES, openapi_extra=middleware.KEY_PARAMETER)
async def put_organ_item(organ_id: OrganId, item_id: ItemId, item: ItemIn) -> Kept:
    """Keep a value as the organ's own; answered when it is durable."""
    await _manager(organ_id).set_item_async(item_id, item.value, item.ttl_s)
    return Kept(kept=1)


@organs.delete(ITEM, responses=FINDS | WRITES, openapi_extra=middleware.KEY_PARAMETER)
async def delete_organ_item(organ_id: OrganId, item_id: ItemId) -> Deleted:
    """Delete the organ's item; 404 if it has none."""
    return _deleted(await _manager(organ_id).delete_item_async(item_id), item_id)


@organs.put("", responses=WRITES, openapi_extra=middleware.KEY_PARAMETER)
async def put_organ_items(organ_id: OrganId, items: ItemsIn) -> Kept:
    """Keep many values as the organ's own, all of them or none."""
    await _manager(organ_id).set_items_async(items.items, items.ttl_s)
    return Kept(kept=len(items.items))


@organs.post("/query")
async def query_organ_items(organ_id: OrganId, query: ItemIds) -> ItemsOut:
    """Get many items, each as a single get finds it."""
    found, unreadable = await _readable(_manager(organ_id).find_items_async(query.item_ids))
    return await _many(found, unreadable, query.item_ids)


@shared.get(ITEM, response_model=ItemOut, responses=FINDS)
async def get_shared_item(item_id: ItemId) -> Response:
    """The shared item; if there is none, 404, and a miss is counted."""
    value = await _manager(API_ORGAN).get_global_item_async(item_id, MISSING)
    return await _one(item_id, None if value is MISSING else FoundItem(value, Source.SHARED))


@shared.put(ITEM, responses=WRITES, openapi_extra=middleware.KEY_PARAMETER)
async def put_shared_item(item_id: ItemId, item: ItemIn) -> Kept:
    """Keep a value for every organ; answered when it is durable."""
    await _manager(API_ORGAN).set_global_item_async(item_id, item.value, item.ttl_s)
    return Kept(kept=1)


@shared.delete(ITEM, responses=FINDS | WRITES, openapi_extra=middleware.KEY_PARAMETER)
async def delete_shared_item(item_id: ItemId) -> Deleted:
    """Delete the shared item; 404 if there is none."""
    return _deleted(await _manager(API_ORGAN).delete_global_item_async(item_id), item_id)


@shared.put("", responses=WRITES, openapi_extra=middleware.KEY_PARAMETER)
async def put_shared_items(items: ItemsIn) -> Kept:
    """Keep many values for every organ, all of them or none."""
    await _manager(API_ORGAN).set_global_items_async(items.items, items.ttl_s)
    return Kept(kept=len(items.items))


@shared.post("/query")
async def query_shared_items(query: ItemIds) -> ItemsOut:
    """Get many shared items."""
    values, unreadable = await _readable(_manager(API_ORGAN).get_global_items_async(query.item_ids))
    found = {item_id: FoundItem(value, Source.SHARED) for item_id, value in values.items()}
    return await _many(found, unreadable, query.item_ids)


@hot.get("/hot-items")
async def hot_items(n: Annotated[int, Query(ge=0, le=MAX_HOT_ITEMS)] = 10) -> list[HotItemOut]:
    """The items that were most often asked for and not found, most missed first."""
    return _hot_items_out(await _manager(API_ORGAN).get_hot_items_async(n))


def most_missed(number: int) -> list[HotItemOut]:
    """`hot_items` for a thread."""
    return _hot_items_out(_manager(API_ORGAN).get_hot_items(number))


def _hot_items_out(items: Iterable[HotItem]) -> list[HotItemOut]:
    return [HotItemOut(item_id=item.item_id, misses=item.misses, overcount=item.overcount) for item in items]


async def _readable(found: Awaitable[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, SeedCoreError]]:
    """The items that were found, and what is wrong with those that cannot be read."""
    try:
        return await found, {}
    except UnreadableItemsError as error:
        return error.found, error.unreadable


async def _one(item_id: str, found: FoundItem | None) -> Response:
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no item {item_id!r}; the miss counts")
    if is_small(found.value):
        return _json(item_id, found)
    return await asyncio.to_thread(_json, item_id, found)


def _json(item_id: str, found: FoundItem) -> Response:
    """The item as FastAPI would show it, which would check once more what was made here."""
    item = ItemOut(item_id=item_id, value=to_json_value(found.value), source=found.source)
    return Response(item.model_dump_json(), media_type="application/json")


async def _many(
    found: Mapping[str, FoundItem], unreadable: Mapping[str, SeedCoreError], item_ids: list[str]
) -> ItemsOut:
    if len(item_ids) <= INLINE_ITEMS and all(is_small(item.value) for item in found.values()):
        return _items_out(found, unreadable, item_ids)
    return await asyncio.to_thread(_items_out, found, unreadable, item_ids)


def _items_out(
    found: Mapping[str, FoundItem], unreadable: Mapping[str, SeedCoreError], item_ids: list[str]
) -> ItemsOut:
    items = []
    reasons = dict(unreadable)
    for item_id, item in found.items():
        try:
            items.append(ItemOut(item_id=item_id, value=to_json_value(item.value), source=item.source))
        except InvalidValueError as error:
            reasons[item_id] = error
    return ItemsOut(
        items=items,
        missing=[item_id for item_id in dict.fromkeys(item_ids) if item_id not in found and item_id not in reasons],
        unreadable=[UnreadableItem(item_id=item_id, reason=str(error)) for item_id, error in reasons.items()],
    )


def _deleted(existed: bool, item_id: str) -> Deleted:
    if not existed:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no item {item_id!r}")
    return Deleted(deleted=1)
