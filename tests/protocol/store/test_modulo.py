from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from protocol.errors import ProtocolError
from protocol.store import aterm
from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import (
    BadDerivation,
    Deferred,
    Derivation,
    FixedOutput,
    Floating,
    Impure,
    InputAddressed,
    InputOutputs,
    Output,
)
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.modulo import (
    HashModulo,
    check_outputs,
    derivation_path,
    expected_outputs,
    with_outputs,
)
from protocol.store.path import STORE_DIR, StorePath

GOLDEN = Path(__file__).parents[2] / "golden" / "derivations"
REAL = {
    path: aterm.parse_file(path, file.read_bytes())
    for file in GOLDEN.glob("*.drv")
    for path in [StorePath.of(file.name)]
}
DEP_PATH = StorePath.of("wz1jk7zgmyg9p4389gixwr4354j6x1j5-tool-1.2.drv")
DEP = REAL[DEP_PATH]
NOWHERE = InputAddressed(StorePath("/nix/store/00000000000000000000000000000000-x"))


class Graph(dict[StorePath, Derivation]):
    """Derivations by their own path."""

    def __init__(self, store_dir: str = STORE_DIR) -> None:
        super().__init__()
        self.store_dir = store_dir
        self.read: list[StorePath] = []

    def __getitem__(self, path: StorePath) -> Derivation:
        self.read.append(path)
        return super().__getitem__(path)

    def add(self, derivation: Derivation) -> StorePath:
        path = derivation_path(derivation, self.store_dir)
        self[path] = derivation
        return path

    def modulo(self, *, last_wins: bool = False) -> HashModulo:
        return HashModulo(self.__getitem__, self.store_dir, last_wins=last_wins)


def derivation(
    name: str,
    outputs: Mapping[str, Output] | None = None,
    inputs: Mapping[StorePath, InputOutputs] | None = None,
    env: Mapping[str, str] | None = None,
) -> Derivation:
    outputs = outputs or {"out": NOWHERE}
    return Derivation(
        name=name,
        outputs=outputs,
        input_derivations=inputs or {},
        input_sources=frozenset(),
        platform="x86_64-linux",
        builder="/bin/sh",
        args=(),
        env=dict.fromkeys(outputs, "") | dict(env or {}),
    )


def uses(*names: str, **children: InputOutputs) -> InputOutputs:
    return InputOutputs(frozenset(names), children)


def fetched(name: str, url: str) -> Derivation:
    """A source of one content, fetched from somewhere."""
    content = ContentAddress(Method.FLAT, Hash.of(b"source"))
    bare = derivation(name, {"out": FixedOutput(NOWHERE.path, content)}, env={"url": url})
    return with_outputs(bare, Graph().modulo())


@pytest.mark.parametrize("path", sorted(REAL), ids=lambda path: path.name)
def test_derivations_of_real_nix_have_their_paths(path: StorePath) -> None:
    modulo = HashModulo(REAL.__getitem__)
    real = REAL[path]
    assert derivation_path(real) == path
    assert expected_outputs(real, modulo) == real.output_paths()
    assert with_outputs(real, modulo) == real
    check_outputs(real, modulo)
    assert aterm.unparse(real) == (GOLDEN / path.base).read_bytes()


def test_output_paths_are_found_where_none_are_stated() -> None:
    modulo = HashModulo(REAL.__getitem__)
    for real in REAL.values():
        bare = {
            name: NOWHERE if isinstance(output, InputAddressed) else output
            for name, output in real.outputs.items()
        }
        assert with_outputs(replace(real, outputs=bare), modulo) == real


def test_how_a_source_is_fetched_does_not_count() -> None:
    graph = Graph()
    one, two = (graph.add(fetched("src", url)) for url in ("http://a", "http://b"))
    assert one != two
    paths = {
        str(expected_outputs(derivation("x", inputs={source: uses("out")}), graph.modulo()))
        for source in (one, two)
    }
    assert len(paths) == 1


def test_where_the_source_of_a_source_comes_from_is_not_even_read() -> None:
    graph = Graph()
    fetcher = replace(fetched("src", "x"), input_derivations={DEP_PATH: uses("out")})
    source = graph.add(fetcher)
    graph.modulo().of(source)
    assert graph.read == [source]


def test_every_other_input_counts() -> None:
    graph = Graph()
    modulo = graph.modulo()
    inputs = [graph.add(with_outputs(derivation(name), modulo)) for name in ("a", "b")]
    users = [derivation("x", inputs={path: uses("out")}) for path in inputs]
    one, two = (expected_outputs(user, modulo)["out"] for user in users)
    assert one != two


def test_each_derivation_is_read_once() -> None:
    graph = Graph()
    path = graph.add(DEP)
    modulo = graph.modulo()
    for name in ("a", "b"):
        path = graph.add(
            with_outputs(derivation(name, inputs=dict.fromkeys(graph, uses("out"))), modulo)
        )
    modulo.of(path)
    modulo.of(path)
    assert sorted(graph.read) == sorted(graph)


def test_graphs_may_be_deeper_than_python_calls_nest() -> None:
    graph = Graph()
    modulo = graph.modulo()
    path = graph.add(with_outputs(derivation("bottom"), modulo))
    for _ in range(3000):
        path = graph.add(with_outputs(derivation("x", inputs={path: uses("out")}), modulo))
    fresh = graph.modulo()
    assert fresh.of(path) == modulo.of(path)


def test_a_cycle_is_refused() -> None:
    one, two = (StorePath.of(f"{digit * 32}-x.drv") for digit in "12")
    graph = {
        one: derivation("x", inputs={two: uses("out")}),
        two: derivation("x", inputs={one: uses("out")}),
    }
    with pytest.raises(BadDerivation, match="lead back to it"):
        HashModulo(graph.__getitem__).of(one)


def test_an_output_that_an_input_lacks_is_named() -> None:
    graph = Graph()
    user = derivation("x", inputs={graph.add(DEP): uses("doc")})
    with pytest.raises(BadDerivation, match="no output `doc`"):
        expected_outputs(user, graph.modulo())


def test_two_recipes_of_one_source_are_one_input() -> None:
    graph = Graph()
    sources = sorted(graph.add(fetched("src", url)) for url in ("a", "b"))
    modulo = graph.modulo()
    both = derivation("x", inputs=dict.fromkeys(sources, uses("out")))
    single = derivation("x", inputs={sources[0]: uses("out")})
    assert expected_outputs(both, modulo) == expected_outputs(single, modulo)


def test_old_nix_let_the_last_of_equal_inputs_win() -> None:
    graph = Graph()
    plain = graph.modulo()
    outputs = {"out": NOWHERE, "dev": NOWHERE}
    equal = sorted(
        graph.add(with_outputs(derivation("m", outputs, {graph.add(source): uses("out")}), plain))
        for source in (fetched("src", "a"), fetched("src", "b"))
    )
    both = derivation("x", inputs={equal[0]: uses("out"), equal[1]: uses("dev")})
    last = derivation("x", inputs={equal[1]: uses("dev")})
    merged = derivation("x", inputs={equal[1]: uses("dev", "out")})
    old = graph.modulo(last_wins=True)
    assert expected_outputs(both, plain) == expected_outputs(merged, plain)
    assert expected_outputs(both, old) == expected_outputs(last, old)
    assert expected_outputs(both, old) != expected_outputs(both, plain)


FLOATING = Floating(Method.NAR, HashAlgorithm.SHA256)


@pytest.mark.parametrize(
    "output", [FLOATING, Impure(Method.NAR, HashAlgorithm.SHA256)], ids=["floating", "impure"]
)
def test_behind_a_floating_input_no_path_is_known(output: Output) -> None:
    graph = Graph()
    modulo = graph.modulo()
    floating = graph.add(derivation("f", {"out": output}))
    between = graph.add(derivation("g", {"out": Deferred()}, {floating: uses("out")}))
    user = derivation("x", {"out": Deferred()}, {between: uses("out")})
    assert expected_outputs(user, modulo) == {}
    assert with_outputs(user, modulo) == user
    check_outputs(user, modulo)


def test_a_path_stated_behind_a_floating_input_is_refused() -> None:
    graph = Graph()
    user = derivation("x", inputs={graph.add(derivation("f", {"out": FLOATING})): uses("out")})
    with pytest.raises(BadDerivation, match=r"outputs\.out: a path is stated"):
        check_outputs(user, graph.modulo())
    stale = replace(user, env={"out": NOWHERE.path})
    assert with_outputs(stale, graph.modulo()) == replace(user, outputs={"out": Deferred()})


def test_an_output_of_an_output_is_not_known_beforehand() -> None:
    graph = Graph()
    user = derivation("x", {"out": Deferred()}, {graph.add(DEP): uses(out=uses("out"))})
    assert expected_outputs(user, graph.modulo()) == {}


def test_a_needlessly_deferred_output_gets_its_path() -> None:
    modulo = Graph().modulo()
    deferred = replace(DEP, outputs=dict.fromkeys(DEP.outputs, Deferred()))
    assert with_outputs(deferred, modulo) == DEP
    check_outputs(deferred, modulo)


def test_variables_of_outputs_are_filled_in() -> None:
    bare = derivation("x", {"out": NOWHERE, "dev": NOWHERE})
    modulo = Graph().modulo()
    filled = with_outputs(replace(bare, env={}), modulo)
    assert filled == with_outputs(bare, modulo)
    check_outputs(filled, modulo)
    assert filled.env == filled.output_paths()
    assert filled.outputs["dev"] == InputAddressed(StorePath(filled.env["dev"]))


def test_beside_structured_attributes_only_existing_variables_are_filled_in() -> None:
    bare = derivation("x", {"out": NOWHERE, "dev": NOWHERE})
    filled = with_outputs(replace(bare, env={"__json": "{}", "dev": ""}), Graph().modulo())
    assert filled.env == {"__json": "{}", "dev": filled.output_paths()["dev"]}


def test_other_paths_than_follow_are_refused() -> None:
    modulo = Graph().modulo()
    with pytest.raises(
        BadDerivation, match=r"outputs\.dev: .*advm88kryffb7shskjjl26j25cdvk466-tool"
    ):
        check_outputs(replace(DEP, outputs={**DEP.outputs, "dev": NOWHERE}), modulo)
    with pytest.raises(BadDerivation, match=r"env\.out: `elsewhere`"):
        check_outputs(replace(DEP, env={**DEP.env, "out": "elsewhere"}), modulo)
    source = fetched("src", "x")
    with pytest.raises(BadDerivation, match=r"outputs\.out: .*follows from the derivation"):
        check_outputs(replace(source, name="other"), modulo)


def test_a_derivation_has_outputs() -> None:
    with pytest.raises(BadDerivation, match="needs an output"):
        check_outputs(replace(DEP, outputs={}), Graph().modulo())


def test_what_cannot_be_read_passes_through() -> None:
    with pytest.raises(KeyError):
        Graph().modulo().of(DEP_PATH)


def test_the_store_directory_counts() -> None:
    graph = Graph("/other")
    elsewhere = with_outputs(DEP, graph.modulo()).output_paths()["out"]
    assert elsewhere.store_dir == "/other"
    assert elsewhere.digest != DEP.output_paths()["out"].digest


def test_all_refusals_are_protocol_errors() -> None:
    assert issubclass(BadDerivation, ProtocolError)
