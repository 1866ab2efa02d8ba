from hypothesis import given
from hypothesis import strategies as st

from shim.equivalence import align as module
from shim.equivalence.align import align

words = st.lists(st.sampled_from("abcde"), max_size=12)


def longest(left: list[str], right: list[str]) -> int:
    if not left or not right:
        return 0
    if left[0] == right[0]:
        return 1 + longest(left[1:], right[1:])
    return max(longest(left[1:], right), longest(left, right[1:]))


@given(words, words)
def test_aligned_items_are_equal_and_in_order(left: list[str], right: list[str]) -> None:
    pairs, _ = align(left, right)
    assert all(left[i] == right[j] for i, j in pairs)
    assert pairs == sorted(pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_nothing_longer_can_be_aligned(left: list[str], right: list[str]) -> None:
    assert len(align(left, right)[0]) == longest(left, right)


@given(words)
def test_a_list_is_aligned_with_itself(left: list[str]) -> None:
    assert align(left, left) == ([(i, i) for i in range(len(left))], 0)


def test_huge_different_lists_are_aligned_by_unique_items_quickly() -> None:
    size = int(module.MAX_CELLS**0.5) * 2
    left = ["start", *("l",) * size, "anchor", *("l",) * size, "end"]
    right = ["start", *("r",) * size, "anchor", *("r",) * size, "end"]
    assert [left[i] for i, _ in align(left, right)[0]] == ["start", "anchor", "end"]


def test_what_is_spent_is_told_and_kept_to() -> None:
    left, right = list("xabcy"), list("zbcaw")
    assert align(left, right) == ([(2, 1), (3, 2)], 25)
    # One cell less, and only what is unique on both sides is aligned, in order.
    assert align(left, right, 24) == ([(1, 3)], 0)
