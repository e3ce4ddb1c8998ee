"""What goes in and out of the API."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from seedcore.settings import load_settings

MAX_ITEM_IDS = 100_000  # item ids in one request; the body limit bounds the rest

TtlSeconds = Annotated[
    float | None, Field(gt=0, allow_inf_nan=False, description="seconds after which it is gone; null keeps it")
]


class _KeyBounds:
    """Tells the OpenAPI document what `validate_key` refuses."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "minLength": 1, "maxLength": load_settings().key_max_length}


Key = Annotated[str, _KeyBounds()]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="null")


class ItemIn(_Strict):
    """An item to keep."""

    value: Any = Field(description="any JSON value", examples=[{"step": 1}])
    ttl_s: TtlSeconds = None


class ItemsIn(_Strict):
    """Items to keep, all or none."""

    items: dict[Key, Any] = Field(description="values by item id", examples=[{"plan": {"step": 1}}])
    ttl_s: TtlSeconds = None


class ItemIds(_Strict):
    """Which items to get."""

    item_ids: Annotated[list[Key], FailFast()] = Field(max_length=MAX_ITEM_IDS, examples=[["plan", "goal"]])


class ItemOut(_Strict):
    """An item that was found."""

    item_id: str
    value: Any
    source: str = Field(description="organ or shared: where it was found")


class UnreadableItem(_Strict):
    """An item that is there and cannot be shown."""

    item_id: str
    reason: str


class ItemsOut(_Strict):
    """Items that were found, those that were not, and those that are there and cannot be shown."""

    items: list[ItemOut]
    missing: list[str]
    unreadable: list[UnreadableItem]


class Deleted(_Strict):
    """How many items a request deleted."""

    deleted: int


class Kept(_Strict):
    """How many items a request has made durable."""

    kept: int


class HotItemOut(_Strict):
    """An item that is often asked for and not found."""

    item_id: str
    misses: int = Field(description="never too low, at most `overcount` too high")
    overcount: int


class ProblemPlace(_Strict):
    """One of the things that are wrong in a request."""

    where: str = Field(description="in the request, such as body.ttl_s")
    problem: str


class Problem(_Strict):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str = Field(description="the phrase of the status")
    status: int
    detail: str = Field(description="what is wrong and what to do")
    errors: list[ProblemPlace] = Field([], description="each place of a request that is not valid")


class Alive(_Strict):
    """The API process answers."""

    status: str = "alive"


class ActorReadiness(_Strict):
    """Whether one singleton answers."""

    ready: bool
    reason: str = ""


class Readiness(_Strict):
    """Whether all singletons answer."""

    ready: bool
    actors: dict[str, ActorReadiness]


class Code(_Strict):
    """Which source a process runs."""

    running: str
    on_disk: str
    stale: bool
    changed: tuple[str, ...]


class BusyOut(_Strict):
    """What keeps an actor from answering."""

    call: str = Field(description="of the actor, or its constructor")
    since: float = Field(description="seconds since the epoch")


class ActorOut(_Strict):
    """One singleton, as it is now."""

    name: str
    class_name: str
    running: bool
    reason: str
    node_id: str | None
    node_ip: str | None
    pid: int | None
    uptime_s: float | None
    restarts: int | None
    code: Code | None
    stats: dict[str, Any] | None
    busy: BusyOut | None = Field(description="null if it answered, or does not run")


class Actors(_Strict):
    """All singletons of the namespace, and the code of the API itself."""

    namespace: str
    code: Code
    actors: list[ActorOut]


class NodeOut(_Strict):
    """A Ray node."""

    node_id: str
    address: str
    host_name: str = Field(description="of its machine or container")
    alive: bool
    resources: dict[str, float]
    reason: str = Field(description="why its machine is missed; empty if it is not")


class FailureOut(_Strict):
    """A task, or a call of an actor, that failed."""

    task_id: str
    name: str
    error: str = Field(description="in one line")
    traceback: str
    ended_at: float | None = Field(description="seconds since the epoch")
    pid: int | None


class Failures(_Strict):
    """What failed last, the newest first."""

    failures: list[FailureOut]
    reason: str = Field(description="why they are not known, if they are not")


class NodeWorkOut(_Strict):
    """What a Ray node does at present."""

    node_id: str
    tasks: dict[str, int] = Field(description="how many of each name run for a second or more, calls of actors as well")
    actors: list[str] = Field(description="that live there")


class Work(_Strict):
    """What each node does that does something."""

    nodes: list[NodeWorkOut]
    reason: str = Field(description="why it is not known, if it is not")


class EngineOut(_Strict):
    """What keeps the memory."""

    name: str
    facts: list[str] = Field(description="version, role, replicas, memory and the like of each server")
    problems: list[str] = Field(description="what of its settings breaks a promise, each with its remedy")
    reason: str = Field(description="why it is not known how it is, if it is not")


class ActorLog(_Strict):
    """What an actor wrote last, in its present life."""

    out: list[str]
    err: list[str] = Field(description="what Python's logging writes is here")
    reason: str = Field(description="why it is not known, if it is not")


class Status(Actors):
    """What the status page shows."""

    ray_address: str
    dashboard_port: int
    nodes: list[NodeOut]
    nodes_reason: str = Field(description="why the nodes are not known, if they are not")
    engine: EngineOut
    hot_items: list[HotItemOut] | None = Field(description="null while they are not known")
    requests: int = Field(description="that this process has answered, health checks and this page's own aside")
