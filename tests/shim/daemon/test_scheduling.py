from pathlib import Path

from shim.config import Config, Limits, NixStore
from shim.daemon.building.scheduling import Scheduler, look
from shim.plan.decision import Strategy

ROOM = Limits(builds=1, memory=1, disk=1, pressure=100)


def board() -> frozenset[str]:
    return frozenset({"board"})


def scheduler(limits: Limits) -> Scheduler:
    return Scheduler(Config(serving=NixStore(Path("/serve")), limits=limits))


def test_places_are_given_back_however_a_build_ends(tmp_path: Path) -> None:
    found = scheduler(ROOM)
    first, second, third = (
        found.enter(board, "aarch64-linux", Strategy.EMULATE, [tmp_path]) for _ in range(3)
    )
    assert [each.turn.is_set() for each in (first, second, third)] == [True, False, False]
    assert found.why(second) == "1 builds run (limits.builds), place 1 of 2"
    with found.place(second):
        pass
    found.leave(first)
    found.leave(first)
    assert third.turn.is_set()
    found.leave(third)
    assert (found.running, found.waiting) == ((), ())


def test_a_full_disk_refuses_a_build_that_nothing_would_make_room_for(tmp_path: Path) -> None:
    found = scheduler(Limits(builds=2, memory=1, disk=1 << 40, pressure=100))
    waiting = found.enter(board, "aarch64-linux", Strategy.CROSS, [tmp_path])
    assert waiting.turn.is_set()
    assert "limits.disk" in waiting.refused
    assert (found.running, found.waiting) == ((), ())


def test_memory_holds_a_build_only_while_others_run(tmp_path: Path) -> None:
    found = scheduler(Limits(builds=9, memory=1 << 40, disk=1, pressure=100))
    first, second = (
        found.enter(board, "aarch64-linux", Strategy.CROSS, [tmp_path]) for _ in range(2)
    )
    assert (first.turn.is_set(), second.turn.is_set()) == (True, False)
    assert "limits.memory" in found.why(second)
    found.leave(first)
    assert second.turn.is_set()


def test_the_machine_is_looked_at(tmp_path: Path) -> None:
    host = look([tmp_path / "not" / "there" / "yet"])
    assert host.memory > 0
    assert host.disk > 0
    assert 0 <= host.pressure <= 100
