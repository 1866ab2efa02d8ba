"""Generated dialects, requests, replies and messages of the worker protocol, and wired pairs."""

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st

from protocol.common import RealisationByPath
from protocol.store.content_address import Method
from protocol.store.derived_path import Opaque, SingleBuilt
from protocol.store.hash import HashAlgorithm
from protocol.store.realisation import Realisation, UnkeyedRealisation
from protocol.version import (
    ADD_TO_STORE_SCANNING,
    DELETE_DEAD_REFERRERS,
    PATH_NOT_HASH,
    SUBMIT_OUTPUT,
    Dialect,
    Number,
)
from protocol.wire.codec import Codec
from protocol.wire.source import Source, Underrun
from protocol.worker import results, stderr
from protocol.worker.client import ClientConnection
from protocol.worker.events import ClientEvent, ServerEvent
from protocol.worker.messages import Addressing, GcAction, SpecificPaths
from protocol.worker.results import (
    Added,
    BuildMode,
    Missing,
    SubstitutablePathInfo,
    ValidPathInfo,
)
from protocol.worker.server import ServerConnection
from protocol.worker.stderr import Verbosity
from protocol.worker.upkeep import Collected
from protocol.worker.versions import NEWEST, OLDEST
from tests.support.strategies import (
    U64,
    basic_derivations,
    build_results,
    content_addresses,
    derived_paths,
    drv_outputs,
    drv_outputs_by_path,
    output_names,
    path_infos,
    realisations,
    sha256,
    signatures,
    store_paths,
    texts,
    unkeyed_realisations,
)

ALL_FEATURES = [PATH_NOT_HASH, DELETE_DEAD_REFERRERS, SUBMIT_OUTPUT, ADD_TO_STORE_SCANNING]
U32 = st.integers(0, 2**32 - 1)

dialects: st.SearchStrategy[Dialect] = st.integers(OLDEST.minor, NEWEST.minor - 1).map(
    lambda minor: Dialect(Number(1, minor))
) | st.frozensets(st.sampled_from(ALL_FEATURES)).map(lambda found: Dialect(NEWEST, found))

path = store_paths()
paths = st.frozensets(path, max_size=6)
booleans = st.booleans()
fields = st.lists(U64 | texts(), max_size=4).map(tuple)


def levels(dialect: Dialect) -> st.SearchStrategy[int]:
    # The level that Nix 2.3 does not have is the only one that does not come back.
    known = [level for level in Verbosity if level != Verbosity.NOTICE]
    return st.sampled_from(known if dialect.number <= OLDEST else list(Verbosity))


def log_messages(dialect: Dialect) -> st.SearchStrategy[stderr.LogMessage]:
    return (
        st.builds(stderr.Next, texts())
        | st.builds(stderr.StartActivity, U64, levels(dialect), U32, texts(), fields, U64)
        | st.builds(stderr.StopActivity, U64)
        | st.builds(stderr.Result, U64, U32, fields)
    )


def errors(dialect: Dialect) -> st.SearchStrategy[stderr.NixError]:
    if dialect.number < Number(1, 26):
        return st.builds(stderr.NixError, texts(), status=U32)
    traces = st.lists(texts(), max_size=3).map(tuple)
    return st.builds(stderr.NixError, texts(), levels(dialect), texts(), traces)


def messages(dialect: Dialect) -> st.SearchStrategy[stderr.Message]:
    return (
        log_messages(dialect)
        | errors(dialect)
        | st.builds(stderr.Read, U64)
        | st.builds(stderr.Write, st.binary(max_size=40))
        | st.just(stderr.Last())
    )


def by_path(dialect: Dialect) -> bool:
    return PATH_NOT_HASH in dialect.features


def mask(codec: Codec[Any], values: st.SearchStrategy[Any], dialect: Dialect) -> Any:
    """Values as they come back: what the dialect keeps off the wire is at its default."""

    def once(value: Any) -> Any:
        return codec.get(Source(codec.put(value, dialect)), dialect)

    return values.map(once)


def addressings(dialect: Dialect) -> st.SearchStrategy[Addressing]:
    old = st.builds(
        Addressing, st.sampled_from([Method.FLAT, Method.NAR]), st.sampled_from(HashAlgorithm)
    )
    if dialect.number < Number(1, 25):
        return old
    return (
        old
        | st.just(Addressing(Method.TEXT))
        | st.builds(Addressing, st.just(Method.GIT), st.sampled_from(HashAlgorithm))
    )


def any_build_results(dialect: Dialect) -> Any:
    one = unkeyed_realisations() if by_path(dialect) else realisations()
    results_ = build_results(one).map(name_outputs_by_id)
    return mask(results.build_result, results_, dialect)


def name_outputs_by_id(result: Any) -> Any:
    """A result whose outputs are named as their realisations name them."""
    outputs = {
        each.id.output if isinstance(each, Realisation) else name: each
        for name, each in result.built_outputs.items()
    }
    return type(result)(
        status=result.status,
        error_message=result.error_message,
        times_built=result.times_built,
        is_non_deterministic=result.is_non_deterministic,
        start_time=result.start_time,
        stop_time=result.stop_time,
        cpu_user=result.cpu_user,
        cpu_system=result.cpu_system,
        built_outputs=outputs,
    )


substitutable = st.builds(SubstitutablePathInfo, st.none() | path, paths, U64, U64)


def field(name: str, dialect: Dialect) -> st.SearchStrategy[Any]:
    """Values of a request's field; most names mean the same everywhere."""
    if name in FIELDS:
        return FIELDS[name]
    return DEPENDENT[name](dialect)


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "path": path,
    "paths": paths,
    "digest": texts(),
    "link": texts(),
    "name": texts(),
    "contents": texts(200),
    "output": output_names,
    "signatures": st.frozensets(signatures, max_size=3),
    "references": paths,
    "derivation": basic_derivations(),
    "info": path_infos(),
    "mode": st.sampled_from(BuildMode),
    "ignore_liveness": booleans,
    "max_freed": U64,
    "repair": booleans,
    "dont_check_signatures": booleans,
    "check_contents": booleans,
    "substitute": booleans,
    "keep_failed": booleans,
    "keep_going": booleans,
    "try_fallback": booleans,
    "use_substitutes": booleans,
    "max_build_jobs": U32,
    "build_cores": U32,
    "max_silent_time": U64,
    "overrides": st.dictionaries(texts(), texts(), max_size=3),
}

DEPENDENT: dict[str, Callable[[Dialect], st.SearchStrategy[Any]]] = {
    "addressing": addressings,
    "verbosity": levels,
    "verbose_build": levels,
    "id": lambda dialect: drv_outputs_by_path() if by_path(dialect) else drv_outputs,
}


def legacy(dialect: Dialect) -> bool:
    return dialect.number < Number(1, 30)


def asked_paths(dialect: Dialect) -> st.SearchStrategy[Any]:
    some = derived_paths(legacy=legacy(dialect)).filter(
        lambda wanted: not (legacy(dialect) and getattr(wanted, "path", "").endswith(".drv"))
    )
    return st.lists(some, max_size=4).map(tuple)


def found_realisations(dialect: Dialect) -> st.SearchStrategy[Any]:
    if by_path(dialect):
        return st.builds(RealisationByPath, drv_outputs_by_path(), unkeyed_realisations())
    if dialect.number >= Number(1, 31):
        return realisations()
    return st.builds(Realisation, drv_outputs, path)


SPECIAL: dict[str, Callable[[Dialect], dict[str, st.SearchStrategy[Any]]]] = {
    "BuildPaths": lambda dialect: {"paths": asked_paths(dialect)},
    "BuildPathsWithResults": lambda dialect: {"paths": asked_paths(dialect)},
    "QueryMissing": lambda dialect: {"paths": asked_paths(dialect)},
    "QuerySubstitutablePathInfos": lambda _: {
        "paths": st.dictionaries(path, st.none() | content_addresses, max_size=3)
    },
    "ClearFailedPaths": lambda _: {"paths": st.frozensets(texts(), max_size=3)},
    "RegisterDrvOutput": lambda dialect: {"realisation": found_realisations(dialect)},
    "SubmitOutput": lambda _: {
        "path": st.recursive(
            path, lambda inner: st.builds(SingleBuilt, inner, output_names), max_leaves=3
        )
    },
    "CollectGarbage": lambda dialect: {
        "action": st.sampled_from(GcAction),
        "scope": st.none()
        | st.builds(
            SpecificPaths,
            paths if DELETE_DEAD_REFERRERS in dialect.features else paths.filter(bool),
            booleans if DELETE_DEAD_REFERRERS in dialect.features else st.just(value=False),
        ),
    },
}


def requests(row: Any, dialect: Dialect) -> Any:
    """Requests of one operation, as they come back."""
    special = SPECIAL[row.name](dialect) if row.name in SPECIAL else {}
    given = {
        name: special[name] if name in special else field(name, dialect)
        for name in row.request.__dataclass_fields__
    }
    return mask(row.layout, st.builds(row.request, **given), dialect)


def _found(dialect: Dialect) -> st.SearchStrategy[Any]:
    if by_path(dialect):
        return st.none() | unkeyed_realisations()
    if dialect.number >= Number(1, 31):
        return st.none() | realisations()
    return st.none() | st.builds(UnkeyedRealisation, path)


REPLIES: dict[str, Callable[[Dialect], st.SearchStrategy[Any]]] = {
    **dict.fromkeys(["IsValidPath", "HasSubstitutes", "VerifyStore"], lambda _: booleans),
    **dict.fromkeys(
        [
            *("QueryReferences", "QueryReferrers", "QueryDerivationOutputs", "QueryAllValidPaths"),
            *("QueryFailedPaths", "QueryValidPaths", "QuerySubstitutablePaths"),
            *("QueryValidDerivers", "ImportPaths"),
        ],
        lambda _: paths,
    ),
    **dict.fromkeys(["QueryDeriver", "QueryPathFromHashPart"], lambda _: st.none() | path),
    "QueryPathHash": lambda _: sha256,
    "QueryDerivationOutputNames": lambda _: st.frozensets(texts(), max_size=3),
    "QuerySubstitutablePathInfo": lambda _: st.none() | substitutable,
    "QuerySubstitutablePathInfos": lambda _: st.lists(
        st.tuples(path, substitutable), max_size=3
    ).map(tuple),
    "QueryPathInfo": lambda _: st.none() | path_infos(),
    "QueryMissing": lambda _: st.builds(Missing, paths, paths, paths, U64, U64),
    "QueryDerivationOutputMap": lambda _: st.dictionaries(
        output_names, st.none() | path, max_size=3
    ),
    "AddTextToStore": lambda _: path,
    "AddToStore": lambda dialect: mask(
        results.added, st.builds(Added, path, path_infos()), dialect
    ),
    "AddToStoreScanning": lambda _: st.builds(ValidPathInfo, path, path_infos()),
    "AddPermRoot": lambda _: texts(),
    "FindRoots": lambda _: st.lists(st.tuples(texts(), path), max_size=3).map(tuple),
    "CollectGarbage": lambda _: st.builds(Collected, st.frozensets(texts(), max_size=3), U64),
    "BuildDerivation": any_build_results,
    "BuildPathsWithResults": lambda dialect: st.lists(
        st.tuples(
            st.builds(Opaque, path.filter(lambda each: not each.is_derivation)),
            any_build_results(dialect),
        ),
        max_size=2,
    ).map(tuple),
    "QueryRealisation": _found,
}


def replies(row: Any, dialect: Dialect) -> st.SearchStrategy[Any]:
    """Replies of one operation; None where there is nothing to tell."""
    return REPLIES[row.name](dialect) if row.name in REPLIES else st.none()


def cut(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """`data` in pieces of these sizes, the rest as one."""
    pieces, at = [], 0
    for size in sizes:
        if at >= len(data):
            break
        pieces.append(data[at : at + size])
        at += size
    return [piece for piece in [*pieces, data[at:]] if piece]


def read_in_pieces(codec: Codec[Any], pieces: list[bytes], dialect: Dialect) -> Any:
    """The value that arrives in these pieces; asserts that nothing is read before it is there."""
    source = Source()
    source.begin(1 << 30)
    for piece in pieces:
        source.feed(piece)
        if source.starved:
            continue
        try:
            value = codec.get(source, dialect)
        except Underrun:
            continue
        assert not len(source)
        return value
    if not pieces:
        return codec.get(source, dialect)
    raise AssertionError("the value is not complete")


class Pair:
    """A client and a server wired to each other."""

    def __init__(self, client: ClientConnection, server: ServerConnection) -> None:
        self.client = client
        self.server = server
        self.heard: list[ClientEvent] = []
        self.asked: list[ServerEvent] = []

    def to_server(self, data: bytes, sizes: Iterable[int] = ()) -> None:
        for piece in cut(data, sizes):
            self.server.receive(piece)
            self.run()

    def to_client(self, data: bytes, sizes: Iterable[int] = ()) -> None:
        for piece in cut(data, sizes):
            self.client.receive(piece)
            self.run()

    def run(self) -> None:
        """Carry what both say by themselves until nothing moves."""
        moved = True
        while moved:
            moved = False
            while (asked := self.server.next_event()) is not None:
                self.asked.append(asked)
            if data := self.server.to_send():
                self.client.receive(data)
                moved = True
            while (heard := self.client.next_event()) is not None:
                self.heard.append(heard)
            if data := self.client.to_send():
                self.server.receive(data)
                moved = True

    def take_asked(self) -> list[ServerEvent]:
        events, self.asked = self.asked, []
        return events

    def take_heard(self) -> list[ClientEvent]:
        events, self.heard = self.heard, []
        return events
