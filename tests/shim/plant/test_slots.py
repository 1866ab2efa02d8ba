"""Finding and replacing paths in the texts of a recipe."""

import json

from hypothesis import given
from hypothesis import strategies as st

from protocol.store.base32 import ALPHABET
from protocol.store.derivation import BasicDerivation, InputAddressed
from protocol.store.path import StorePath
from shim.plant.slots import Occurrence, Slot, by_digest, rewrite, slot_of, texts

STORE = "/nix/store"
OLD = StorePath(f"{STORE}/{'a' * 32}-old")
LONGER = StorePath(f"{STORE}/{'b' * 32}-old-dev")
NEW = StorePath(f"{STORE}/{'c' * 32}-new")


def recipe(builder: str = "", args: tuple[str, ...] = (), **env: str) -> BasicDerivation:
    return BasicDerivation(
        outputs={"out": InputAddressed(NEW)},
        input_sources=frozenset(),
        platform="x86_64-linux",
        builder=builder,
        args=args,
        env=env,
    )


def put(text: str) -> str:
    found = rewrite(recipe(text=text), by_digest([OLD]), STORE, lambda _: (NEW, "/inner"))
    return found.env["text"]


def test_paths_are_replaced_in_builder_arguments_and_variables() -> None:
    made = recipe(f"{OLD}/bin/sh", ("-e", f"{OLD}/x"), flags=f"-I{OLD}/include -L{OLD}/lib")
    seen: list[Occurrence] = []

    def note(occurrence: Occurrence) -> tuple[str, str]:
        seen.append(occurrence)
        return NEW, ""

    found = rewrite(made, by_digest([OLD]), STORE, note)
    assert (found.builder, found.args) == (f"{NEW}/bin/sh", ("-e", f"{NEW}/x"))
    assert found.env == {"flags": f"-I{NEW}/include -L{NEW}/lib"}
    assert [(each.variable, each.slot) for each in seen] == [
        ("builder", Slot.BUILD),
        ("args", Slot.TEXT),
        ("flags", Slot.TEXT),
        ("flags", Slot.TEXT),
    ]


def test_only_whole_known_paths_of_the_store_count() -> None:
    for text in (
        LONGER,
        f"/other/store/{OLD.base}",
        OLD.base,
        OLD.digest,
        f"{STORE}/{OLD.digest}",
        f"{STORE}/{OLD.digest}-o",
        f"{STORE}/{'e' * 32}-old",
    ):
        assert put(text) == text


def test_a_folder_is_dropped_only_where_it_follows() -> None:
    assert put(f"{OLD}/inner/lib") == f"{NEW}/lib"
    assert put(f"{OLD}/innermost/lib") == f"{NEW}/innermost/lib"
    assert put(f"{OLD}/lib/inner/x") == f"{NEW}/lib/inner/x"
    assert put(f"{OLD}{OLD}") == f"{NEW}{NEW}"


def test_structured_attributes_keep_their_types_and_order() -> None:
    value = {"z": [1, 1.5, True, None, {OLD: [OLD, "text"]}], "a": f"{OLD}/bin", "n": 10**20}
    made = recipe(__json=json.dumps(value))
    found = rewrite(made, by_digest([OLD]), STORE, lambda _: (NEW, ""))
    text = found.environment()["__json"]
    assert text == json.dumps(value, separators=(",", ":")).replace(OLD, NEW)


def test_bytes_that_are_no_text_survive_structured_attributes() -> None:
    odd = b"\xff\xc3\xa4".decode(errors="surrogateescape")
    made = recipe(__json=f'{{"name":"{odd}","path":"{OLD}"}}')
    found = rewrite(made, by_digest([OLD]), STORE, lambda _: (NEW, ""))
    assert found.environment()["__json"] == f'{{"name":"{odd}","path":"{NEW}"}}'


def test_variables_are_set_where_the_recipe_keeps_them() -> None:
    plain = rewrite(recipe(name="old"), {}, STORE, lambda _: ("", ""))
    assert plain.setting({"name": "new"}).environment() == {"name": "new"}
    made = recipe(__json='{"name":"old"}', out="x")
    structured = rewrite(made, {}, STORE, lambda _: ("", "")).setting({"name": "new"})
    assert structured.environment() == {"__json": '{"name":"new"}', "out": "x"}
    assert structured.variable("name") == "new"


def test_every_dependency_slot_has_a_side() -> None:
    build = {"depsBuildBuild", "nativeBuildInputs", "depsBuildTarget"}
    host = {"depsHostHost", "buildInputs", "depsTargetTarget"}
    for names, side in ((build, Slot.BUILD), (host, Slot.HOST)):
        for name in names:
            assert slot_of(name) is side
    propagated = {
        "depsBuildBuildPropagated": Slot.BUILD,
        "propagatedNativeBuildInputs": Slot.BUILD,
        "depsBuildTargetPropagated": Slot.BUILD,
        "depsHostHostPropagated": Slot.HOST,
        "propagatedBuildInputs": Slot.HOST,
        "depsTargetTargetPropagated": Slot.HOST,
    }
    assert {name: slot_of(name) for name in propagated} == propagated
    assert slot_of("postInstall") is Slot.TEXT


digests = st.text(alphabet=ALPHABET, min_size=32, max_size=32)
paths = st.builds(
    lambda digest, name: StorePath(f"{STORE}/{digest}-{name}"),
    digests,
    st.text(alphabet="ab-.", min_size=1, max_size=4),
)
words = st.one_of(paths, st.text(max_size=8), st.just(STORE), st.just("/"))


@given(st.lists(words, max_size=12), st.lists(paths, max_size=4))
def test_replacing_a_path_by_itself_changes_nothing(
    parts: list[str], known: list[StorePath]
) -> None:
    made = recipe(text="".join([*parts, *known, *parts]))
    found = rewrite(made, by_digest(known), STORE, lambda each: (each.path, ""))
    assert found.environment() == made.env


@given(st.lists(words, max_size=12))
def test_nothing_known_is_left(parts: list[str]) -> None:
    text = OLD.join(parts)
    found = rewrite(recipe(text=text), by_digest([OLD]), STORE, lambda _: (NEW, ""))
    left = dict(texts(recipe(text=found.environment()["text"])))["text"]
    assert OLD not in left
    assert len(left) == len(text)
