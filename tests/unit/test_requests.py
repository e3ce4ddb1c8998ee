"""Who is which client, and what keeps a write that was given up from being done over a later one."""

import asyncio
import contextvars
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from seedcore import MwManager, RequestAbandonedError
from seedcore.actors.calls import Call
from seedcore.cluster.actor_client import actor_client
from seedcore.memory.engines import end_memory, memory_of_process
from seedcore.settings import load_settings
from seedcore.store.requests import RequestIds, idempotency_key

THREADS = 16


def test_a_forked_process_is_another_client_before_its_first_write() -> None:
    requests = RequestIds()
    parents = requests._client_id
    child = os.fork()
    if child == 0:
        os._exit(int(requests._client_id == parents))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.usefixtures("memory_without_ray")
def test_a_write_that_was_given_up_is_not_done_after_one_with_a_key() -> None:
    memory: Any = MwManager("organ")
    client = memory._own._client
    with suppress(asyncio.CancelledError), client._requests.request() as given_up:
        late = Call("set_many", ("organ", memory._own.pack({"plan": "old"}), None), given_up)
        raise asyncio.CancelledError
    with idempotency_key("of the later one"):
        memory.set_item("plan", "new")
    with pytest.raises(RequestAbandonedError):
        client.perform([late])
    assert memory.get_item("plan") == "new"


def test_what_outlives_a_block_with_a_key_has_numbers_of_its_own() -> None:
    requests = RequestIds()
    with idempotency_key("key"):
        context = contextvars.copy_context()

    def is_numbered() -> bool:
        with requests.request() as request:
            return requests.has_numbered(request)

    assert context.run(is_numbered)


@pytest.mark.usefixtures("memory_without_ray")
def test_threads_that_begin_at_once_share_one_memory_and_one_client() -> None:
    settings = load_settings()
    end_memory(settings)
    begin = threading.Barrier(THREADS)

    def make(_: int) -> tuple[int, int]:
        begin.wait()
        return id(memory_of_process(settings)), id(actor_client("another", settings))

    with ThreadPoolExecutor(THREADS) as pool:
        assert len(set(pool.map(make, range(THREADS)))) == 1
