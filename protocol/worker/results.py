"""Layouts of store values in the worker protocol, and replies that exist only here.

| codec | wire |
|---|---|
| `path_info` | deriver, NAR hash, references, time, NAR size; 1.16: ultimate, signatures, address |
| `valid_path_info` | path, `path_info` |
| `build_result` | status, message; 1.29: times, flag, start, stop; 1.37: CPU; 1.28: outputs |
| `derived_path` | text, see `protocol.store.derived_path`; another meaning below 1.30 |
| `keyed_build_result` | `derived_path`, `build_result` |

Checked against Nix's `WorkerProto::Serialise` and its golden files.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from protocol.common import (
    built_outputs,
    built_outputs_json,
    nar_hash,
    optional_content_address,
    optional_store_path,
    path_set,
    signatures,
    store_path,
)
from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derived_path import MAX_DEPTH as MAX_OUTPUTS_DEPTH
from protocol.store.derived_path import (
    DerivedPath,
    SingleBuilt,
    SingleDerivedPath,
    parse_derived_path,
)
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import PATH_NOT_HASH, Dialect
from protocol.wire.codec import (
    Codec,
    boolean,
    choice,
    enumeration,
    i64,
    obsolete,
    optional,
    sequence,
    tagged,
    text,
    u64,
    via,
)
from protocol.wire.layout import layout, on
from protocol.worker.versions import minor

done: Final = obsolete(1)
"""The reply of operations that have nothing to tell."""

path_info: Final = layout(
    PathInfo,
    deriver=on(optional_store_path),
    nar_hash=on(nar_hash),
    references=on(path_set),
    registration_time=on(i64),
    nar_size=on(u64),
    ultimate=on(boolean, since=minor(16)),
    signatures=on(signatures, since=minor(16)),
    content_address=on(optional_content_address, since=minor(16)),
)


@dataclass(frozen=True, slots=True)
class ValidPathInfo:
    """A path and what the store knows about it."""

    path: StorePath
    info: PathInfo


valid_path_info: Final = layout(ValidPathInfo, path=on(store_path), info=on(path_info))


@dataclass(frozen=True, slots=True)
class Added:
    """The reply to an upload of contents."""

    path: StorePath
    info: PathInfo | None = None
    """Daemons below 1.25 tell the path only."""


_added_now: Final = layout(Added, path=on(store_path), info=on(path_info))
_added_once: Final = layout(Added, path=on(store_path))
added: Final[Codec[Added]] = choice(
    lambda dialect: _added_now if dialect.number >= minor(25) else _added_once
)


build_result: Final = layout(
    BuildResult,
    status=on(enumeration(BuildStatus)),
    error_message=on(text),
    times_built=on(u64, since=minor(29)),
    is_non_deterministic=on(boolean, since=minor(29)),
    start_time=on(i64, since=minor(29)),
    stop_time=on(i64, since=minor(29)),
    cpu_user=on(optional(i64), since=minor(37)),
    cpu_system=on(optional(i64), since=minor(37)),
    # Older than the fields before it, and last nevertheless.
    built_outputs=on(
        choice(
            lambda dialect: (
                built_outputs if PATH_NOT_HASH in dialect.features else built_outputs_json
            )
        ),
        since=minor(28),
    ),
)


def _is_legacy(dialect: Dialect) -> bool:
    return dialect.number < minor(30)


derived_path: Final[Codec[DerivedPath]] = via(
    text,
    lambda value, dialect: parse_derived_path(value, dialect.store_dir, legacy=_is_legacy(dialect)),
    lambda value, dialect: value.render(legacy=_is_legacy(dialect)),
)
keyed_build_result: Final = sequence(derived_path, build_result)


def _single_derived_path(depth: int) -> Codec[SingleDerivedPath]:
    cases: dict[int, Codec[Any]] = {0: store_path}
    if depth:
        cases[1] = layout(
            SingleBuilt, derivation=on(_single_derived_path(depth - 1)), output=on(text)
        )
    return tagged(cases, lambda value: int(isinstance(value, SingleBuilt)), "form of a path")


single_derived_path: Final = _single_derived_path(MAX_OUTPUTS_DEPTH)
"""`u64` 0 and a path, or `u64` 1, another one of these and an output's name."""


class BuildMode(IntEnum):
    """What to do about outputs that exist already."""

    NORMAL = 0
    REPAIR = 1
    CHECK = 2


build_mode: Final = enumeration(BuildMode)


@dataclass(frozen=True, slots=True)
class SubstitutablePathInfo:
    """What a substituter knows about a path; sizes in bytes, 0 where unknown."""

    deriver: StorePath | None
    references: frozenset[StorePath]
    download_size: int
    nar_size: int


substitutable_path_info: Final = layout(
    SubstitutablePathInfo,
    deriver=on(optional_store_path),
    references=on(path_set),
    download_size=on(u64),
    nar_size=on(u64),
)


@dataclass(frozen=True, slots=True)
class Missing:
    """What realising some paths would take; sizes in bytes."""

    will_build: frozenset[StorePath]
    will_substitute: frozenset[StorePath]
    unknown: frozenset[StorePath]
    """Derivations among them that the store does not have."""
    download_size: int
    nar_size: int


missing: Final = layout(
    Missing,
    will_build=on(path_set),
    will_substitute=on(path_set),
    unknown=on(path_set),
    download_size=on(u64),
    nar_size=on(u64),
)
