"""Requests to realise something, and to tell or ask where outputs came out."""

from typing import Any, Final

from protocol.common import (
    AnyDrvOutput,
    AnyRealisation,
    RealisationByPath,
    base_name,
    basic_derivation,
    drv_output,
    drv_output_by_path,
    path_set,
    realisation_by_path,
    realisation_json,
    store_path,
    unkeyed_realisation,
)
from protocol.errors import RemoteProtocolError
from protocol.store.build_result import BuildResult
from protocol.store.derivation import BasicDerivation
from protocol.store.derived_path import DerivedPath, SingleDerivedPath
from protocol.store.path import StorePath
from protocol.store.realisation import DrvOutput, DrvOutputByPath, Realisation, UnkeyedRealisation
from protocol.version import PATH_NOT_HASH, SUBMIT_OUTPUT, Dialect
from protocol.wire.codec import Codec, choice, list_of, nothing, only, optional, sequence, text, via
from protocol.wire.layout import wire
from protocol.wire.operation import Request, operation
from protocol.worker.results import (
    BuildMode,
    build_mode,
    build_result,
    derived_path,
    done,
    keyed_build_result,
    single_derived_path,
)
from protocol.worker.versions import minor


@operation(9, reply=done)
class BuildPaths(Request[None]):
    """Realise these; one error for all that fails."""

    paths: tuple[DerivedPath, ...] = wire(list_of(derived_path))
    mode: BuildMode = wire(build_mode, default=BuildMode.NORMAL)


@operation(10, reply=done)
class EnsurePath(Request[None]):
    """Substitute the path if it is missing."""

    path: StorePath = wire(store_path)


@operation(36, reply=build_result, since=minor(14))
class BuildDerivation(Request[BuildResult]):
    """Build a derivation that the server need not have."""

    path: StorePath = wire(store_path)
    """Its `.drv`; gives the derivation its name."""
    derivation: BasicDerivation = wire(basic_derivation)
    mode: BuildMode = wire(build_mode, default=BuildMode.NORMAL)


@operation(46, reply=list_of(keyed_build_result), since=minor(34))
class BuildPathsWithResults(Request[tuple[tuple[DerivedPath, BuildResult], ...]]):
    """Realise these; a result for each, but none for what was never begun (since 2.33.2)."""

    paths: tuple[DerivedPath, ...] = wire(list_of(derived_path))
    mode: BuildMode = wire(build_mode, default=BuildMode.NORMAL)


def _read_old(pair: tuple[DrvOutput, StorePath], _: Dialect) -> Realisation:
    return Realisation(pair[0], pair[1])


def _write_old(value: Realisation, _: Dialect) -> tuple[DrvOutput, StorePath]:
    return value.id, value.out_path


# A peer that names outputs one way cannot be told or asked about what is named the other way.
_old_realisation: Final = only(
    Realisation, via(sequence(drv_output, base_name), _read_old, _write_old)
)
_json: Final = only(Realisation, realisation_json)
_by_path: Final = only(RealisationByPath, realisation_by_path)
_output_by_hash: Final = only(DrvOutput, drv_output)
_output_by_path: Final = only(DrvOutputByPath, drv_output_by_path)


def _realisation(dialect: Dialect) -> Codec[Any]:
    if PATH_NOT_HASH in dialect.features:
        return _by_path
    return _json if dialect.number >= minor(31) else _old_realisation


@operation(42, reply=nothing, since=minor(27))
class RegisterDrvOutput(Request[None]):
    """Note where an output came out.

    Servers since 2.35 refuse this and `QueryRealisation` without the feature
    `realisation-with-path-not-hash`, without having read the request: the connection is lost.
    """

    realisation: AnyRealisation = wire(choice(_realisation))


def _one_or_none(found: tuple[Realisation, ...], _: Dialect) -> Realisation | None:
    if len(found) > 1:
        raise RemoteProtocolError(f"{len(found)} realisations of one output")
    return found[0] if found else None


def _path_or_none(found: frozenset[StorePath], _: Dialect) -> UnkeyedRealisation | None:
    if len(found) > 1:
        raise RemoteProtocolError(f"{len(found)} realisations of one output")
    return UnkeyedRealisation(min(found)) if found else None


def _as_paths(value: UnkeyedRealisation | None, _: Dialect) -> frozenset[StorePath]:
    return frozenset() if value is None else frozenset({value.out_path})


def _as_list(value: Realisation | None, _: Dialect) -> tuple[Realisation, ...]:
    return () if value is None else (value,)


_found: Final = optional(only(UnkeyedRealisation, unkeyed_realisation))
_found_json: Final = via(list_of(_json), _one_or_none, _as_list)
_found_path: Final = via(path_set, _path_or_none, _as_paths)


def _answer(dialect: Dialect) -> Codec[Any]:
    if PATH_NOT_HASH in dialect.features:
        return _found
    return _found_json if dialect.number >= minor(31) else _found_path


def _output_id(dialect: Dialect) -> Codec[Any]:
    if PATH_NOT_HASH in dialect.features:
        return _output_by_path
    return _output_by_hash


@operation(43, reply=choice(_answer), since=minor(27))
class QueryRealisation(Request[Realisation | UnkeyedRealisation | None]):
    """Where did an output come out?  See `RegisterDrvOutput`."""

    id: AnyDrvOutput = wire(choice(_output_id))


@operation(1000, reply=done, needs=SUBMIT_OUTPUT)
class SubmitOutput(Request[None]):
    """From inside a build: this path is the output of that name (2.36)."""

    path: SingleDerivedPath = wire(single_derived_path)
    output: str = wire(text)
