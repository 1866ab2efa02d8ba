"""Who is admitted, and who is ended when while the daemon stops.  The clock jumps; nobody waits."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from shim.config import Config, Limits, NixStore, Peer
from shim.daemon.clients.sessions import Sessions
from shim.daemon.clients.who import Who
from shim.preamble import Speaks
from shim.session.routes import Standing

CONFIG = Config(
    serving=NixStore(Path("/serve")),
    peers={"attic": Peer(sessions=2)},
    limits=Limits(sessions=3),
)
ATTIC = Who("attic", Standing.PEER)
CELLAR = Who("cellar", Standing.PEER)
ROOT = Who("uid 0", Standing.OPERATOR)


def test_a_peer_has_its_limit_and_all_have_one() -> None:
    sessions = Sessions()
    with sessions.admitted(ATTIC), sessions.admitted(ATTIC):
        assert "peers.attic.sessions" in sessions.objection(ATTIC, CONFIG)
        assert sessions.objection(CELLAR, CONFIG) == ""
        with sessions.admitted(CELLAR):
            assert "limits.sessions" in sessions.objection(CELLAR, CONFIG)
        assert sessions.objection(CELLAR, CONFIG) == ""
    assert sessions.objection(ATTIC, CONFIG) == ""


def test_operators_have_no_limit_and_take_no_peers_place() -> None:
    config = replace(CONFIG, peers={"uid 0": Peer(sessions=1)})
    sessions = Sessions()
    with ExitStack() as stack:
        for _ in range(2 * CONFIG.limits.sessions):
            stack.enter_context(sessions.admitted(ROOT))
        assert sessions.objection(ROOT, config) == ""
        assert sessions.objection(ATTIC, config) == ""


def test_who_only_looks_is_always_let_in() -> None:
    sessions = Sessions()
    sessions.stopping = True
    assert "being stopped" in sessions.objection(ROOT, CONFIG)
    assert sessions.objection(replace(ROOT, speaks=Speaks.CONTROL), CONFIG) == ""


Scene = Callable[[Sessions], Awaitable[None]]


def drained(*scenes: Scene, who: Who = ATTIC) -> float:
    """Seconds that draining takes, with 10 of idleness allowed."""
    sessions = Sessions()

    async def one(scene: Scene) -> None:
        with sessions.admitted(who):
            await scene(sessions)

    async def play() -> float:
        async with trio.open_nursery() as nursery:
            for scene in scenes:
                nursery.start_soon(one, scene)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            await sessions.drain(10)
            return trio.current_time() - began
        raise AssertionError("unreachable")

    return trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


async def idle(sessions: Sessions) -> None:
    with sessions.shown(ATTIC):
        await trio.sleep_forever()


async def busy(sessions: Sessions) -> None:
    """Builds for 25 seconds, then asks nothing."""
    with sessions.shown(ATTIC) as live:
        live.doing = "BuildPaths"
        await trio.sleep(25)
        live.doing = ""
        await trio.sleep_forever()


async def leaves(sessions: Sessions) -> None:
    with sessions.shown(ATTIC):
        await trio.sleep(3)


async def stirs(sessions: Sessions) -> None:
    """Passes bytes for 30 seconds."""
    with sessions.shown(ATTIC) as live:
        for _ in range(6):
            live.stir()
            await trio.sleep(5)
        await trio.sleep_forever()


@pytest.mark.parametrize(("scene", "seconds"), [(idle, 10), (busy, 35), (leaves, 3), (stirs, 35)])
def test_idle_sessions_are_ended_and_others_wait_for_what_is_done(
    scene: Scene, seconds: float
) -> None:
    assert drained(scene) == pytest.approx(seconds, abs=0.5)


def test_sessions_of_one_connection_end_together() -> None:
    assert drained(idle, busy) == pytest.approx(35, abs=0.5)


def test_nothing_is_waited_for_where_nobody_is() -> None:
    assert drained() == 0
