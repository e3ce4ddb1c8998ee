import asyncio

import pytest

from seedcore.actors.calls import Answer, Call
from seedcore.errors import InvalidKeyError
from seedcore.gathered_calls import MAX_CALLS, MAX_UNDER_WAY, GatheredCalls

DEADLINE_S = 60.0


class Recorder:
    """Answers each call with its arguments, once it may."""

    def __init__(self) -> None:
        self.sent: list[list[Call]] = []
        self.ended: list[str] = []  # without an answer
        self.may_answer = asyncio.Event()

    async def __call__(self, calls: list[Call]) -> list[Answer]:
        self.sent.append(calls)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.ended += [call.method for call in calls]
            raise
        return [
            Answer(error=InvalidKeyError(call.method)) if call.method == "fails" else Answer(call.arguments)
            for call in calls
        ]


async def under_way(gathered: GatheredCalls[Call, Answer], *methods: str) -> list[asyncio.Task[Answer]]:
    """Calls that have been made, each by a task of its own."""
    tasks: list[asyncio.Task[Answer]] = [
        asyncio.create_task(gathered.call(Call(method, (number,)))) for number, method in enumerate(methods)
    ]
    for _ in range(3):  # turns of the loop: the tasks, the start, the sending
        await asyncio.sleep(0)
    return tasks


def names(recorder: Recorder) -> list[list[str]]:
    return [[call.method for call in calls] for calls in recorder.sent]


async def test_calls_of_one_turn_travel_together() -> None:
    recorder = Recorder()
    recorder.may_answer.set()
    tasks = await under_way(GatheredCalls(recorder, DEADLINE_S), "a", "b", "c")
    assert await asyncio.gather(*tasks) == [Answer((0,)), Answer((1,)), Answer((2,))]
    assert names(recorder) == [["a", "b", "c"]]


async def test_calls_wait_for_those_under_way_and_then_travel_together() -> None:
    recorder = Recorder()
    gathered = GatheredCalls(recorder, DEADLINE_S)
    tasks = []
    for number in range(MAX_UNDER_WAY + 3):
        tasks += await under_way(gathered, f"{number}")
    waited_alone = [[f"{number}"] for number in range(MAX_UNDER_WAY)]
    assert names(recorder) == waited_alone
    recorder.may_answer.set()
    await asyncio.gather(*tasks)
    assert names(recorder) == [*waited_alone, [f"{MAX_UNDER_WAY + number}" for number in range(3)]]


async def test_calls_go_on_after_all_tasks_of_the_loop_were_cancelled() -> None:
    recorder = Recorder()
    recorder.may_answer.set()
    gathered = GatheredCalls(recorder, DEADLINE_S)
    waiting = asyncio.create_task(gathered.call(Call("a", ())))
    await asyncio.sleep(0)  # it waits, and what sends it has not begun
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others)
    assert waiting.cancelled()
    assert await gathered.call(Call("b", (1,))) == Answer((1,))


async def test_each_call_has_its_own_answer_and_its_own_error() -> None:
    recorder = Recorder()
    recorder.may_answer.set()
    tasks = await under_way(GatheredCalls(recorder, DEADLINE_S), "works", "fails", "works")
    first, second, third = await asyncio.gather(*tasks)
    assert (first, third) == (Answer((0,)), Answer((2,)))
    assert isinstance(second.error, InvalidKeyError)


@pytest.mark.parametrize("error", [TimeoutError, asyncio.CancelledError])
async def test_what_goes_wrong_on_the_way_reaches_all(error: type[BaseException]) -> None:
    async def send(calls: list[Call]) -> list[Answer]:
        raise error

    tasks = await under_way(GatheredCalls(send, DEADLINE_S), "a", "b")
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [error, error]


async def test_a_call_that_was_given_up_before_it_was_sent_is_never_sent() -> None:
    recorder = Recorder()
    gathered = GatheredCalls(recorder, DEADLINE_S)
    tasks = [task for number in range(MAX_UNDER_WAY) for task in await under_way(gathered, f"{number}")]
    given_up, kept = await under_way(gathered, "given up", "kept")
    given_up.cancel()
    recorder.may_answer.set()
    await asyncio.gather(*tasks, kept)
    assert names(recorder)[-1] == ["kept"]
    assert given_up.cancelled()


async def test_a_call_that_was_given_up_on_its_way_takes_nothing_from_the_others() -> None:
    recorder = Recorder()
    given_up, kept = await under_way(GatheredCalls(recorder, DEADLINE_S), "given up", "kept")
    given_up.cancel()
    recorder.may_answer.set()
    assert await kept == Answer((1,))


async def test_not_more_than_so_many_travel_together() -> None:
    recorder = Recorder()
    recorder.may_answer.set()
    await asyncio.gather(*await under_way(GatheredCalls(recorder, DEADLINE_S), *["call"] * (2 * MAX_CALLS + 1)))
    assert sorted(map(len, recorder.sent)) == [1, MAX_CALLS, MAX_CALLS]


async def test_calls_without_an_answer_within_the_deadline_end_and_those_that_waited_are_never_sent() -> None:
    recorder = Recorder()
    gathered = GatheredCalls(recorder, deadline_s=0.05)
    tasks = []
    for number in range(MAX_UNDER_WAY + 2):
        tasks += await under_way(gathered, f"{number}")
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), DEADLINE_S)
    assert [type(result) for result in results] == [TimeoutError] * len(tasks)
    recorder.may_answer.set()
    await asyncio.gather(*await under_way(gathered, "later"))
    assert names(recorder) == [*([f"{number}"] for number in range(MAX_UNDER_WAY)), ["later"]]


def ready(recorder: Recorder) -> GatheredCalls[Call, Answer]:
    """Calls of which a lone one goes out at once."""
    return GatheredCalls(recorder, DEADLINE_S, lambda: True)


async def test_a_lone_call_goes_out_at_once_where_it_may() -> None:
    recorder = Recorder()
    recorder.may_answer.set()
    with pytest.raises(StopIteration) as end:
        ready(recorder).call(Call("a", (1,))).send(None)  # no turn of the loop
    assert end.value.value == Answer((1,))


async def test_those_that_come_after_a_lone_call_travel_together() -> None:
    recorder = Recorder()
    tasks = await under_way(ready(recorder), "a", "b", "c")
    recorder.may_answer.set()
    assert await asyncio.gather(*tasks) == [Answer((0,)), Answer((1,)), Answer((2,))]
    assert names(recorder) == [["a"], ["b", "c"]]


async def test_after_calls_that_travelled_together_the_next_waits_for_those_of_its_turn() -> None:
    recorder = Recorder()
    gathered = ready(recorder)
    for methods in (["a", "b", "c"], ["d", "e"], ["f"], ["g", "h"]):
        recorder.may_answer.clear()
        tasks = await under_way(gathered, *methods)
        recorder.may_answer.set()
        await asyncio.gather(*tasks)
    assert names(recorder) == [["a"], ["b", "c"], ["d", "e"], ["f"], ["g"], ["h"]]


async def test_a_lone_call_that_is_given_up_ends_what_sends_it_and_lets_the_others_go() -> None:
    recorder = Recorder()
    gathered = ready(recorder)
    tasks = []
    for number in range(MAX_UNDER_WAY + 1):
        tasks += await under_way(gathered, f"{number}")
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    for _ in range(2):  # turns of the loop: the start, the sending
        await asyncio.sleep(0)
    assert names(recorder) == [[f"{number}"] for number in range(MAX_UNDER_WAY + 1)]
    recorder.may_answer.set()
    assert await asyncio.gather(*tasks[1:]) == [Answer((0,))] * MAX_UNDER_WAY
    assert recorder.ended == ["0"]
