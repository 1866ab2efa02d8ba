"""Questions about a store.  Builds, uploads and upkeep have modules of these names."""

from collections.abc import Mapping
from typing import Final

from protocol.common import (
    nar_hash,
    optional_content_address,
    optional_store_path,
    path_set,
    store_path,
    text_set,
)
from protocol.store.content_address import ContentAddress
from protocol.store.derived_path import DerivedPath
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.wire.codec import (
    Codec,
    boolean,
    choice,
    list_of,
    map_of,
    nothing,
    optional,
    sequence,
    text,
    via,
)
from protocol.wire.layout import wire
from protocol.wire.operation import Body, Request, operation
from protocol.worker.results import (
    Missing,
    SubstitutablePathInfo,
    derived_path,
    missing,
    path_info,
    substitutable_path_info,
)
from protocol.worker.versions import minor


@operation(1, reply=boolean)
class IsValidPath(Request[bool]):
    """Is the path in the store?"""

    path: StorePath = wire(store_path)


@operation(3, reply=boolean)
class HasSubstitutes(Request[bool]):
    """Could a substituter provide the path?  Gone from servers since 2.34."""

    path: StorePath = wire(store_path)


@operation(4, reply=nar_hash)
class QueryPathHash(Request[Hash]):
    """What is the hash of the path's NAR?  Gone from servers since 2.34."""

    path: StorePath = wire(store_path)


@operation(5, reply=path_set)
class QueryReferences(Request[frozenset[StorePath]]):
    """What does the path refer to?  Gone from servers since 2.34."""

    path: StorePath = wire(store_path)


@operation(6, reply=path_set)
class QueryReferrers(Request[frozenset[StorePath]]):
    """What refers to the path?"""

    path: StorePath = wire(store_path)


@operation(18, reply=optional_store_path)
class QueryDeriver(Request[StorePath | None]):
    """Which derivation made the path?  Obsolete, answered."""

    path: StorePath = wire(store_path)


@operation(21, reply=optional(substitutable_path_info))
class QuerySubstitutablePathInfo(Request[SubstitutablePathInfo | None]):
    """What do substituters know about the path?  Obsolete, answered."""

    path: StorePath = wire(store_path)


@operation(22, reply=path_set)
class QueryDerivationOutputs(Request[frozenset[StorePath]]):
    """Which outputs does the derivation have?  Obsolete since 1.22, answered."""

    path: StorePath = wire(store_path)


@operation(23, reply=path_set)
class QueryAllValidPaths(Request[frozenset[StorePath]]):
    """What is in the store?"""


@operation(26, reply=optional(path_info), since=minor(17))
class QueryPathInfo(Request[PathInfo | None]):
    """What is known about the path?  An error whose text has `is not valid` means None, too."""

    path: StorePath = wire(store_path)


@operation(28, reply=text_set)
class QueryDerivationOutputNames(Request[frozenset[str]]):
    """How are the derivation's outputs named?  Obsolete, answered."""

    path: StorePath = wire(store_path)


@operation(29, reply=optional_store_path, since=minor(11))
class QueryPathFromHashPart(Request[StorePath | None]):
    """Which path has these 32 characters?"""

    digest: str = wire(text)


_PathsWithAddresses = Mapping[StorePath, ContentAddress | None]
_addressed: Final[Codec[_PathsWithAddresses]] = map_of(store_path, optional_content_address)
_plain: Final[Codec[_PathsWithAddresses]] = via(
    path_set, lambda paths, _: dict.fromkeys(paths), lambda paths, _: frozenset(paths)
)


@operation(30, reply=list_of(sequence(store_path, substitutable_path_info)), since=minor(12))
class QuerySubstitutablePathInfos(Request[tuple[tuple[StorePath, SubstitutablePathInfo], ...]]):
    """What do substituters know about the paths?"""

    paths: Mapping[StorePath, ContentAddress | None] = wire(
        choice(lambda dialect: _addressed if dialect.number >= minor(22) else _plain)
    )


@operation(31, reply=path_set, since=minor(12))
class QueryValidPaths(Request[frozenset[StorePath]]):
    """Which of the paths are in the store?"""

    paths: frozenset[StorePath] = wire(path_set)
    substitute: bool = wire(boolean, since=minor(27), default=False)
    """Fetch what is missing first, as far as substituters have it."""


@operation(32, reply=path_set, since=minor(12))
class QuerySubstitutablePaths(Request[frozenset[StorePath]]):
    """Which of the paths could substituters provide?"""

    paths: frozenset[StorePath] = wire(path_set)


@operation(33, reply=path_set, since=minor(13))
class QueryValidDerivers(Request[frozenset[StorePath]]):
    """Which derivations in the store have the path as an output?"""

    path: StorePath = wire(store_path)


@operation(38, reply=nothing, reply_body=Body.NAR, since=minor(17))
class NarFromPath(Request[None]):
    """What does the path hold?  The reply's body is its NAR."""

    path: StorePath = wire(store_path)


@operation(40, reply=missing, since=minor(19))
class QueryMissing(Request[Missing]):
    """What would it take to realise these?"""

    paths: tuple[DerivedPath, ...] = wire(list_of(derived_path))


@operation(41, reply=map_of(text, optional_store_path), since=minor(22))
class QueryDerivationOutputMap(Request[Mapping[str, StorePath | None]]):
    """Where are the derivation's outputs?  None where that is not known yet."""

    path: StorePath = wire(store_path)
