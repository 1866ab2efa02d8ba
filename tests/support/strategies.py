"""Generated values of the store, the one home of Hypothesis strategies for them."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from protocol.nar.events import Data, Directory, End, Entry, Event, Regular, Symlink
from protocol.store.base32 import ALPHABET
from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import (
    BasicDerivation,
    Deferred,
    Derivation,
    FixedOutput,
    Floating,
    Impure,
    InputAddressed,
    InputOutputs,
    Output,
)
from protocol.store.derived_path import ALL_OUTPUTS, Built, DerivedPath, Opaque, SingleBuilt
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import STORE_DIR, StorePath
from protocol.store.path_info import PathInfo
from protocol.store.realisation import (
    DrvOutput,
    DrvOutputByPath,
    Form,
    Realisation,
    UnkeyedRealisation,
)

U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(0, 2**63 - 1)


def texts(max_size: int = 40) -> st.SearchStrategy[str]:
    """Any bytes, as Nix's strings are, decoded as we hold them."""
    awkward = st.sampled_from(['"', "\\", "\n", "\r", "\t", "\0", "é", "\udcff", "\U0001f40c"])
    piece = awkward | st.binary(max_size=6).map(lambda b: b.decode("utf-8", "surrogateescape"))
    # Neighbouring escapes may join to a character: decode what they are encoded as once more.
    return st.lists(piece, max_size=max_size // 6).map(
        lambda pieces: (
            "".join(pieces).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
        )
    )


names = st.from_regex(r"[0-9a-zA-Z+\-_?=][0-9a-zA-Z+\-._?=]{0,20}", fullmatch=True)
output_names = st.sampled_from(["out", "dev", "lib", "bin", "doc", "a-b_c.d"])
digests = st.text(ALPHABET, min_size=32, max_size=32)


def store_paths(
    store_dir: str = STORE_DIR, name: st.SearchStrategy[str] = names
) -> st.SearchStrategy[StorePath]:
    return st.builds(lambda d, n: StorePath.parse(f"{store_dir}/{d}-{n}", store_dir), digests, name)


def derivation_paths(store_dir: str = STORE_DIR) -> st.SearchStrategy[StorePath]:
    return store_paths(store_dir, names.map(lambda name: f"{name}.drv"))


def hashes(algorithm: HashAlgorithm | None = None) -> st.SearchStrategy[Hash]:
    chosen = st.just(algorithm) if algorithm else st.sampled_from(HashAlgorithm)
    return chosen.flatmap(
        lambda a: st.binary(min_size=a.size, max_size=a.size).map(lambda digest: Hash(a, digest))
    )


sha256 = hashes(HashAlgorithm.SHA256)
content_addresses = st.builds(ContentAddress, st.just(Method.TEXT), sha256) | st.builds(
    ContentAddress, st.sampled_from([Method.FLAT, Method.NAR, Method.GIT]), hashes()
)
methods = st.tuples(
    st.sampled_from([Method.FLAT, Method.NAR, Method.GIT]), st.sampled_from(HashAlgorithm)
) | st.just((Method.TEXT, HashAlgorithm.SHA256))


def output_sets(store_dir: str = STORE_DIR) -> st.SearchStrategy[Mapping[str, Output]]:
    def of(kind: st.SearchStrategy[Output]) -> st.SearchStrategy[Mapping[str, Output]]:
        return st.dictionaries(output_names, kind, min_size=1, max_size=4)

    paths = store_paths(store_dir)
    fixed = st.builds(FixedOutput, paths, content_addresses).map(lambda output: {"out": output})
    return (
        of(st.builds(InputAddressed, paths))
        | of(st.just(Deferred()))
        | of(methods.map(lambda pair: Floating(*pair)))
        | of(methods.map(lambda pair: Impure(*pair)))
        | fixed
    )


def _recipe(store_dir: str) -> dict[str, Any]:
    return {
        "outputs": output_sets(store_dir),
        "input_sources": st.frozensets(store_paths(store_dir), max_size=4),
        "platform": st.sampled_from(["x86_64-linux", "aarch64-linux", "builtin"]) | texts(),
        "builder": texts(),
        "args": st.lists(texts(), max_size=4).map(tuple),
        "env": st.dictionaries(texts(), texts(120), max_size=6),
    }


def basic_derivations(store_dir: str = STORE_DIR) -> st.SearchStrategy[BasicDerivation]:
    return st.builds(BasicDerivation, **_recipe(store_dir))


input_outputs: st.SearchStrategy[InputOutputs] = st.recursive(
    st.builds(InputOutputs, st.frozensets(output_names, max_size=3)),
    lambda inner: st.builds(
        InputOutputs,
        st.frozensets(output_names, max_size=3),
        st.dictionaries(output_names, inner, min_size=1, max_size=2),
    ),
    max_leaves=4,
)


def derivations(store_dir: str = STORE_DIR) -> st.SearchStrategy[Derivation]:
    return st.builds(
        Derivation,
        name=names,
        input_derivations=st.dictionaries(derivation_paths(store_dir), input_outputs, max_size=4),
        **_recipe(store_dir),
    )


signatures = st.builds(
    lambda name, key: f"{name}:{key}",
    names,
    st.binary(min_size=64, max_size=64).map(lambda raw: Hash(HashAlgorithm.SHA512, raw).base64()),
)


def path_infos(store_dir: str = STORE_DIR) -> st.SearchStrategy[PathInfo]:
    return st.builds(
        PathInfo,
        deriver=st.none() | derivation_paths(store_dir),
        nar_hash=sha256,
        references=st.frozensets(store_paths(store_dir), max_size=4),
        registration_time=I64,
        nar_size=U64,
        ultimate=st.booleans(),
        signatures=st.frozensets(signatures, max_size=3),
        content_address=st.none() | content_addresses,
    )


drv_outputs = st.builds(DrvOutput.of, sha256, output_names)


def drv_outputs_by_path(store_dir: str = STORE_DIR) -> st.SearchStrategy[DrvOutputByPath]:
    return st.builds(DrvOutputByPath, derivation_paths(store_dir), output_names)


def unkeyed_realisations(store_dir: str = STORE_DIR) -> st.SearchStrategy[UnkeyedRealisation]:
    several = st.lists(signatures, max_size=3, unique=True).map(lambda found: tuple(sorted(found)))
    return st.builds(UnkeyedRealisation, store_paths(store_dir), several)


def realisations(store_dir: str = STORE_DIR) -> st.SearchStrategy[Realisation]:
    several = st.lists(signatures, max_size=3, unique=True).map(lambda found: tuple(sorted(found)))
    paths = store_paths(store_dir)
    full = st.builds(
        Realisation,
        drv_outputs,
        paths,
        several,
        st.dictionaries(drv_outputs, paths, max_size=2),
    )
    minimal = st.builds(Realisation, drv_outputs, paths, form=st.just(Form.MINIMAL))
    return full | minimal


def derived_paths(
    store_dir: str = STORE_DIR, *, legacy: bool = False
) -> st.SearchStrategy[DerivedPath]:
    drv = derivation_paths(store_dir)
    wanted = st.frozensets(output_names, min_size=1) | st.just(ALL_OUTPUTS)
    plain = st.builds(Opaque, store_paths(store_dir))
    if legacy:
        return plain | st.builds(Built, drv, wanted)
    single = st.recursive(
        drv, lambda inner: st.builds(SingleBuilt, inner, output_names), max_leaves=3
    )
    return plain | st.builds(Opaque, drv) | st.builds(Built, single, wanted)


def build_results(
    outputs: st.SearchStrategy[Realisation] | st.SearchStrategy[UnkeyedRealisation],
) -> st.SearchStrategy[BuildResult]:
    return st.builds(
        BuildResult,
        status=st.sampled_from(BuildStatus),
        error_message=texts(),
        times_built=st.integers(0, 2**32 - 1),
        is_non_deterministic=st.booleans(),
        start_time=I64,
        stop_time=I64,
        cpu_user=st.none() | I64,
        cpu_system=st.none() | I64,
        built_outputs=st.dictionaries(output_names, outputs, max_size=3),
    )


entry_names = st.binary(min_size=1, max_size=20).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)
"""Names of directory entries, as Linux has them."""


def _file(executable: bool, contents: bytes) -> list[Event]:
    pieces: list[Event] = [Data(contents)] if contents else []
    return [Regular(executable, len(contents)), *pieces, End()]


def _link(target: bytes) -> list[Event]:
    return [Symlink(target)]


def _directory(entries: Mapping[bytes, list[Event]]) -> list[Event]:
    inner = [event for name in sorted(entries) for event in [Entry(name), *entries[name]]]
    return [Directory(), *inner, End()]


nar_events: st.SearchStrategy[list[Event]] = st.recursive(
    st.builds(_file, st.booleans(), st.binary(max_size=40))
    | st.builds(_link, st.binary(min_size=1, max_size=20).filter(lambda text: b"\0" not in text)),
    lambda inner: st.dictionaries(entry_names, inner, max_size=4).map(_directory),
    max_leaves=8,
)
"""The events of one whole NAR, contents in one piece."""
