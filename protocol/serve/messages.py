"""The commands of the serve protocol: one class each, naming its reply and its row.

Requests are a number and fields; the reply follows without any framing.  There is no way to answer
with an error: servers of Nix say what went wrong on their standard error and die.  The two build
commands alone can report a failure in their reply.
"""

from typing import Final

from protocol import common
from protocol.serve import results
from protocol.serve.values import BuildOptions, BuildPathsResult
from protocol.store.build_result import BuildResult
from protocol.store.content_address import ContentAddress
from protocol.store.derivation import BasicDerivation
from protocol.store.derived_path import DerivedPath
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Number
from protocol.wire.codec import boolean, list_of, nothing, obsolete, u64
from protocol.wire.layout import wire
from protocol.wire.operation import Body, Registry, Request, operation


@operation(1, reply=common.path_set)
class QueryValidPaths(Request[frozenset[StorePath]]):
    """Which of some paths are valid."""

    lock: bool = wire(boolean)
    """Whether to protect them from the garbage collector; Nix's clients never ask for it."""
    substitute: bool = wire(boolean)
    """Whether to try and fetch the missing ones first (`builders-use-substitutes`)."""
    paths: frozenset[StorePath] = wire(common.path_set)


@operation(2, reply=results.path_infos)
class QueryPathInfos(Request[tuple[tuple[StorePath, PathInfo], ...]]):
    """What is known about those of some paths that are valid."""

    paths: frozenset[StorePath] = wire(common.path_set)


@operation(3, reply=nothing, reply_body=Body.NAR)
class DumpStorePath(Request[None]):
    """The contents of a path."""

    path: StorePath = wire(common.store_path)


@operation(4, reply=obsolete(1), body=Body.EXPORT)
class ImportPaths(Request[None]):
    """Add the paths of an export.  What clients send below 2.5."""


@operation(5, reply=nothing, reply_body=Body.EXPORT)
class ExportPaths(Request[None]):
    """An export of some paths, in the order asked for.  Servers up to Nix 2.31 answer it."""

    sign: int = wire(u64)
    """Obsolete: 0."""
    paths: tuple[StorePath, ...] = wire(list_of(common.store_path))


@operation(6, reply=results.build_paths_result)
class BuildPaths(Request[BuildPathsResult]):
    """Build derivations that are valid on the server, and make paths valid."""

    wanted: tuple[DerivedPath, ...] = wire(list_of(results.derived_path))
    options: BuildOptions = wire(results.build_options)


@operation(7, reply=common.path_set)
class QueryClosure(Request[frozenset[StorePath]]):
    """Everything that some paths refer to, themselves included."""

    include_outputs: bool = wire(boolean)
    """Whether outputs of the derivations among them count as well."""
    paths: frozenset[StorePath] = wire(common.path_set)


@operation(8, reply=results.build_result, since=Number(2, 1))
class BuildDerivation(Request[BuildResult]):
    """Build a derivation whose inputs are valid on the server."""

    path: StorePath = wire(common.store_path)
    derivation: BasicDerivation = wire(common.basic_derivation)
    options: BuildOptions = wire(results.build_options)


@operation(9, reply=obsolete(1), since=Number(2, 5), body=Body.NAR)
class AddToStoreNar(Request[None]):
    """Add a path; its signatures are not checked."""

    path: StorePath = wire(common.store_path)
    deriver: StorePath | None = wire(common.optional_store_path)
    nar_hash: Hash = wire(common.nar_hash)
    references: frozenset[StorePath] = wire(common.path_set)
    registration_time: int = wire(u64)
    nar_size: int = wire(u64)
    """Exactly what follows; 0 is refused."""
    ultimate: bool = wire(boolean)
    signatures: frozenset[str] = wire(common.signatures)
    content_address: ContentAddress | None = wire(common.optional_content_address)

    @property
    def info(self) -> PathInfo:
        """All of it but the path."""
        return PathInfo(
            deriver=self.deriver,
            nar_hash=self.nar_hash,
            references=self.references,
            registration_time=self.registration_time,
            nar_size=self.nar_size,
            ultimate=self.ultimate,
            signatures=self.signatures,
            content_address=self.content_address,
        )

    @classmethod
    def of(cls, path: StorePath, info: PathInfo) -> "AddToStoreNar":
        """The request for a path of which everything is known."""
        return cls(
            path,
            info.deriver,
            info.nar_hash,
            info.references,
            info.registration_time,
            info.nar_size,
            info.ultimate,
            info.signatures,
            info.content_address,
        )


REGISTRY: Final = Registry(
    [
        QueryValidPaths,
        QueryPathInfos,
        DumpStorePath,
        ImportPaths,
        ExportPaths,
        BuildPaths,
        QueryClosure,
        BuildDerivation,
        AddToStoreNar,
    ]
)

WRITING: Final = frozenset({ImportPaths, BuildPaths, BuildDerivation, AddToStoreNar})
"""What a server refuses that was started without `--write`."""
