"""The order in which Nix prints and exports paths."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.store.path import StorePath
from shim.daemon.clients.asking import _sorted_by


def path(number: int) -> StorePath:
    return StorePath.parse(f"/nix/store/{number:032d}-x")


graphs = st.lists(st.sets(st.integers(0, 30), max_size=6), max_size=30).map(
    lambda rows: {
        path(number): frozenset(path(each) for each in row if each <= number)
        for number, row in enumerate(rows)
    }
)


def visited(graph: dict[StorePath, frozenset[StorePath]]) -> list[StorePath]:
    """What it means, said as Nix does: depth first, references before what refers to them."""
    done: dict[StorePath, None] = {}
    entered: set[StorePath] = set()

    def visit(node: StorePath) -> None:
        if node in entered:
            return
        entered.add(node)
        for below in sorted(graph[node]):
            if below != node and below in graph:
                visit(below)
        done[node] = None

    for node in sorted(graph):
        visit(node)
    return list(done)


@given(graphs)
def test_references_come_first_and_ties_are_broken_as_by_nix(
    graph: dict[StorePath, frozenset[StorePath]],
) -> None:
    assert _sorted_by(sorted(graph), graph.__getitem__) == visited(graph)


def test_graphs_may_be_deeper_than_the_stack() -> None:
    chain = {path(number): frozenset({path(number - 1)}) for number in range(1, 20_000)}
    order = _sorted_by(sorted(chain, reverse=True), chain.__getitem__)
    assert order == sorted(chain)
