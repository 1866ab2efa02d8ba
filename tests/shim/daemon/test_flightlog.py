import math
from collections.abc import Awaitable, Callable

import trio
import trio.testing

from protocol.worker.stderr import (
    ActivityType,
    LogMessage,
    Next,
    Result,
    ResultType,
    StartActivity,
    StopActivity,
)
from shim.daemon.building import flightlog
from shim.daemon.building.flightlog import Audience, FlightLog

START = StartActivity(7, 3, ActivityType.BUILD, "building", (), 0)


def line(text: str, activity: int = 7) -> Result:
    return Result(activity, ResultType.BUILD_LOG_LINE, (text,))


def progress(done: int) -> Result:
    return Result(7, ResultType.PROGRESS, (done, 10, 0, 0))


def alive() -> LogMessage:
    return Next("alive")


def listen(
    act: Callable[[FlightLog], Awaitable[None]], silence: float = math.inf
) -> list[LogMessage]:
    """What someone hears who is there from the start."""
    heard: list[LogMessage] = []

    async def run() -> None:
        log = FlightLog()

        async def send(message: LogMessage) -> None:
            heard.append(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(Audience(send, silence).hear, log, alive)
            await act(log)
            log.end()

    trio.run(run)
    return heard


def hear(log: FlightLog, audience: list[LogMessage]) -> Callable[[], Awaitable[None]]:
    async def send(message: LogMessage) -> None:
        audience.append(message)

    async def run() -> None:
        await Audience(send, math.inf).hear(log, alive)

    return run


def test_who_comes_late_hears_all_from_the_start() -> None:
    early: list[LogMessage] = []
    late: list[LogMessage] = []

    async def run() -> None:
        log = FlightLog()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear(log, early))
            await log.add(START)
            await log.add(line("one"))
            nursery.start_soon(hear(log, late))
            await log.add(line("two"))
            await log.add(StopActivity(7))
            log.end()

    trio.run(run)
    assert early == late == [START, line("one"), line("two"), StopActivity(7)]


def test_an_input_that_two_builds_need_is_heard_once() -> None:
    async def act(log: FlightLog) -> None:
        shared, middle = FlightLog(), FlightLog()
        await shared.add(Next("shared"))
        log.include(middle)
        middle.include(shared)
        log.include(shared)
        await trio.testing.wait_all_tasks_blocked()

    assert listen(act) == [Next("shared")]


def test_an_input_that_goes_on_for_others_holds_nobody() -> None:
    async def act(log: FlightLog) -> None:
        endless = FlightLog()
        log.include(endless)
        await endless.add(START)
        await trio.testing.wait_all_tasks_blocked()

    assert listen(act) == [START, StopActivity(7)]


def test_progress_is_told_at_a_human_pace() -> None:
    heard: list[LogMessage] = []

    async def run() -> None:
        log = FlightLog()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear(log, heard))
            await log.add(START)
            for done in range(5):
                await log.add(progress(done))
            await trio.sleep(flightlog.PACE)
            await log.add(line("said"))
            for done in range(5, 9):
                await log.add(progress(done))
            await log.add(StopActivity(7))
            log.end()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert heard == [START, progress(0), progress(4), line("said"), StopActivity(7)]


def test_only_the_last_progress_is_kept_for_who_comes_late() -> None:
    heard: list[LogMessage] = []

    async def run() -> None:
        log = FlightLog()
        await log.add(START)
        for done in range(5):
            await log.add(progress(done))
            await trio.sleep(flightlog.PACE)
        await log.add(StopActivity(7))
        log.end()
        await hear(log, heard)()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert heard == [START, progress(4), StopActivity(7)]


def test_a_slow_listener_holds_nobody_and_memory_is_bounded() -> None:
    heard: list[LogMessage] = []

    async def run() -> None:
        log = FlightLog()
        go = trio.Event()

        async def send(message: LogMessage) -> None:
            await go.wait()
            heard.append(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(Audience(send, math.inf).hear, log, alive)
            await log.add(START)
            for number in range(20_000):
                await log.add(line(f"{number} {'x' * 1000}"))
            assert log._head_size + log._tail_size < flightlog.HEAD + flightlog.TAIL + 4000
            log.end()
            go.set()

    trio.run(run)
    texts = [each.fields[0] for each in heard if isinstance(each, Result)]
    assert str(texts[0]).startswith("0 ")
    assert str(texts[-1]).startswith("19999 ")
    assert heard.count(Next(flightlog.LEFT_OUT)) == 1


def test_what_refers_to_an_unheard_activity_is_kept_back() -> None:
    async def act(log: FlightLog) -> None:
        await log.add(line("whose?", 9))
        await log.add(StopActivity(9))
        await log.add(Next("for all"))

    assert listen(act) == [Next("for all")]


def test_silence_is_broken() -> None:
    async def run() -> None:
        log, heard = FlightLog(), list[LogMessage]()

        async def send(message: LogMessage) -> None:
            heard.append(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(Audience(send, 30).hear, log, alive)
            await trio.sleep(70)
            assert heard == [Next("alive")] * 2
            await log.add(Next("said"))
            await trio.sleep(29)
            assert heard[2:] == [Next("said")]
            log.end()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_listener_that_fails_ends_its_listening_only() -> None:
    heard: list[LogMessage] = []

    async def run() -> None:
        log = FlightLog()

        async def fails(_: LogMessage) -> None:
            await trio.lowlevel.checkpoint()
            raise ConnectionError

        async def first() -> None:
            try:
                await Audience(fails, math.inf).hear(log, alive)
            except ConnectionError:
                heard.append(Next("gone"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            nursery.start_soon(hear(log, heard))
            await log.add(Next("said"))
            await trio.testing.wait_all_tasks_blocked()
            log.end()

    trio.run(run)
    assert set(heard) == {Next("gone"), Next("said")}
