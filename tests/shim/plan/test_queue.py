from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis.strategies import builds, integers, just, lists, sampled_from

from shim.config import Config, Limits, NixStore, Peer
from shim.plan.decision import Strategy
from shim.plan.queue import Host, Queue, Ticket, short_of

ARM, RISC = "aarch64-linux", "riscv64-linux"


def config(limits: Limits, **peers: Peer) -> Config:
    return Config(serving=NixStore(Path("/serve")), limits=limits, peers=peers)


def ticket(number: int, peers: str, system: str, strategy: Strategy) -> Ticket:
    return Ticket(number, system, strategy, lambda: frozenset(peers.split()))


def tickets(*rows: tuple[str, Any]) -> list[Ticket]:
    return [ticket(number, peers, ARM, how) for number, (peers, how) in enumerate(rows)]


def admitted(queue: Queue) -> list[int]:
    found = []
    while (each := queue.admit()) is not None:
        found.append(each.number)
    return found


def test_peers_take_turns_however_much_they_ask() -> None:
    asked = tickets(*[("greedy", Strategy.EMULATE)] * 4, *[("modest", Strategy.EMULATE)] * 2)
    queue = Queue(config(Limits(builds=2)), waiting=list(asked))
    assert admitted(queue) == [0, 4]
    queue.leave(asked[0])
    queue.leave(asked[4])
    assert admitted(queue) == [1, 5]


def test_who_had_a_turn_longest_ago_is_next() -> None:
    asked = tickets(*[("a", Strategy.CROSS)] * 2, *[("b", Strategy.CROSS)] * 2)
    queue = Queue(config(Limits(builds=1)), waiting=list(asked))
    order = []
    while queue.waiting:
        (number,) = admitted(queue)
        order.append(number)
        queue.leave(asked[number])
    assert order == [0, 2, 1, 3]


def test_what_several_wait_for_uses_the_first_turn_of_any() -> None:
    asked = tickets(*[("greedy", Strategy.CROSS)] * 3, ("greedy modest", Strategy.CROSS))
    queue = Queue(config(Limits(builds=2)), waiting=list(asked))
    assert admitted(queue) == [0, 3]


def test_limits_hold_each_for_what_they_name() -> None:
    limits = Limits(builds=9, by_system={RISC: 1}, by_strategy={"emulate": 2})
    queue = Queue(config(limits, small=Peer(builds=1)))
    rows = [
        ("a", ARM, Strategy.EMULATE, ""),
        ("a", ARM, Strategy.EMULATE, ""),
        ("a", ARM, Strategy.EMULATE, "2 builds run (limits.by-strategy.emulate)"),
        ("a", RISC, Strategy.CROSS, "1 builds run (limits.by-system.riscv64-linux)"),
        ("b", RISC, Strategy.CROSS, ""),
        ("small", ARM, Strategy.CROSS, ""),
        ("small", ARM, Strategy.CROSS, "1 builds run (peers.small.builds)"),
    ]
    for number, (peer, system, strategy, _) in enumerate(rows):
        queue.waiting.append(ticket(number, peer, system, strategy))
    admitted(queue)
    assert {each.number: queue.held_by(each) for each in queue.waiting} == {
        number: why for number, (*_, why) in enumerate(rows) if why
    }


def test_fetching_takes_no_place_from_building() -> None:
    asked = tickets(("a", Strategy.EMULATE), ("a", Strategy.SUBSTITUTE))
    assert admitted(Queue(config(Limits(builds=1)), waiting=asked)) == [0, 1]


def test_one_that_is_held_does_not_hold_the_others() -> None:
    asked = tickets(("a", Strategy.EMULATE), ("b", Strategy.EMULATE), ("c", Strategy.CROSS))
    queue = Queue(config(Limits(by_strategy={"emulate": 1})), waiting=asked)
    assert admitted(queue) == [0, 2]


def test_places_count_turns() -> None:
    asked = tickets(*[("greedy", Strategy.CROSS)] * 3, ("modest", Strategy.CROSS))
    queue = Queue(config(Limits(builds=1)), waiting=list(asked))
    queue.admit()
    assert [queue.place(each) for each in asked[1:]] == [(2, 3), (3, 3), (1, 3)]


@given(
    lists(
        builds(
            ticket,
            just(0),
            sampled_from(["a", "b", "c", "a b", "b c"]),
            sampled_from([ARM, RISC]),
            sampled_from(Strategy),
        )
    ),
    integers(1, 4),
)
def test_everyone_is_served_in_the_end(asked: list[Ticket], most: int) -> None:
    queue = Queue(config(Limits(builds=most)))
    queue.waiting = [replace(each, number=number) for number, each in enumerate(asked)]
    served: Counter[int] = Counter()
    while queue.waiting or queue.running:
        served.update(admitted(queue))
        assert sum(each.strategy is not Strategy.SUBSTITUTE for each in queue.running) <= most
        queue.leave(queue.running[0])
    assert served == Counter(range(len(asked)))


LIMITS = Limits(memory=1000, disk=2000, pressure=50)
FINE = Host(memory=1000, disk=2000, pressure=50)


def test_a_machine_that_has_enough_lacks_nothing() -> None:
    assert not short_of(FINE, LIMITS, running=3)


def test_a_full_disk_holds_even_the_only_build() -> None:
    assert "limits.disk" in short_of(replace(FINE, disk=1999), LIMITS, running=0)


def test_memory_and_pressure_never_hold_the_only_build() -> None:
    for host in (replace(FINE, memory=1), replace(FINE, pressure=90)):
        assert not short_of(host, LIMITS, running=0)
        assert short_of(host, LIMITS, running=1)
