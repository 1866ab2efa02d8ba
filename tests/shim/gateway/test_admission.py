import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.gateway.admission import WAITING, Admission, Verdict, source_of


def test_one_address_gets_half_of_the_places() -> None:
    admission: Admission[int] = Admission(4)
    verdicts = [admission.arrive("a", number) for number in range(3)]
    assert verdicts == [Verdict.START, Verdict.START, Verdict.WAIT]
    assert admission.arrive("b", 9) is Verdict.START


def test_those_who_wait_come_in_turn_between_addresses() -> None:
    admission: Admission[str] = Admission(2)
    admission.arrive("a", "a0")
    admission.arrive("b", "b0")
    for who in ("a1", "a2", "b1"):
        assert admission.arrive(who[0], who) is Verdict.WAIT
    assert admission.leave("a") == ("a", "a1")
    assert admission.leave("b") == ("b", "b1")
    assert admission.leave("a") == ("a", "a2")
    assert admission.leave("b") is None


def test_a_flood_is_turned_away_and_leaves_room_for_others() -> None:
    admission: Admission[int] = Admission(2)
    verdicts = [admission.arrive("a", number) for number in range(100)]
    assert verdicts.count(Verdict.WAIT) == WAITING
    assert verdicts[-1] is Verdict.REFUSE
    assert admission.arrive("b", 1) is Verdict.START
    assert admission.arrive("b", 2) is Verdict.WAIT


def test_who_gave_up_is_not_started() -> None:
    admission: Admission[int] = Admission(2)
    admission.arrive("a", 1)
    admission.arrive("a", 2)
    assert admission.give_up("a", 2)
    assert not admission.give_up("a", 2)
    assert admission.leave("a") is None


@given(st.lists(st.sampled_from("abc+-"), max_size=80), st.integers(1, 5))
def test_places_are_never_exceeded_and_never_lost(steps: list[str], places: int) -> None:
    admission: Admission[int] = Admission(places)
    inside: list[str] = []
    waiting: dict[int, str] = {}
    for number, step in enumerate(steps):
        if step in "abc":
            verdict = admission.arrive(step, number)
            if verdict is Verdict.START:
                inside.append(step)
            elif verdict is Verdict.WAIT:
                waiting[number] = step
        elif step == "-" and inside:
            if (after := admission.leave(inside.pop())) is not None:
                source, who = after
                assert waiting.pop(who) == source
                inside.append(source)
        elif step == "+" and waiting:
            who, source = waiting.popitem()
            assert admission.give_up(source, who)
        assert len(inside) <= places
        assert all(inside.count(source) <= max(1, places // 2) for source in inside)
        if len(inside) < places:  # nobody waits who could come in
            assert all(inside.count(each) >= max(1, places // 2) for each in waiting.values())


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("nothing", "nothing"),
    ],
)
def test_addresses_that_one_host_can_choose_from_are_one(address: str, source: str) -> None:
    assert source_of(address) == source
