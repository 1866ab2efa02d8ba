"""Requests about the store as a whole: settings, roots, garbage, repair."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final, Self

from protocol.common import path_set, store_path, text_set
from protocol.errors import LocalProtocolError
from protocol.store.path import StorePath
from protocol.version import DELETE_DEAD_REFERRERS, Dialect
from protocol.wire.codec import (
    Codec,
    boolean,
    choice,
    enumeration,
    followed_by,
    list_of,
    map_of,
    nothing,
    number,
    obsolete,
    sequence,
    tagged,
    text,
    u64,
    via,
)
from protocol.wire.layout import layout, on, wire
from protocol.wire.operation import Request, operation
from protocol.worker.results import done
from protocol.worker.stderr import Verbosity, level
from protocol.worker.versions import minor


@operation(11, reply=done)
class AddTempRoot(Request[None]):
    """Keep the path while this connection lives."""

    path: StorePath = wire(store_path)


@operation(12, reply=done)
class AddIndirectRoot(Request[None]):
    """Keep what a symlink on the server's machine points to."""

    link: str = wire(text)


@operation(13, reply=done)
class SyncWithGC(Request[None]):
    """Wait for a garbage collection under way.  Without effect since 2.5, answered."""


@operation(14, reply=list_of(sequence(text, store_path)))
class FindRoots(Request[tuple[tuple[str, StorePath], ...]]):
    """Which links keep which paths?  Links are `{censored}` for clients that are not trusted."""


@operation(47, reply=text, since=minor(36))
class AddPermRoot(Request[str]):
    """Make a link on the server's machine that keeps the path; the reply is the link."""

    path: StorePath = wire(store_path)
    link: str = wire(text)


@operation(24, reply=path_set, until=minor(20))
class QueryFailedPaths(Request[frozenset[StorePath]]):
    """Which outputs failed to build?  Gone before 2.3."""


@operation(25, reply=done, until=minor(20))
class ClearFailedPaths(Request[None]):
    """Forget such failures.  Gone before 2.3."""

    paths: frozenset[str] = wire(text_set)


class GcAction(IntEnum):
    """What to do with the paths found."""

    RETURN_LIVE = 0
    RETURN_DEAD = 1
    DELETE_DEAD = 2
    DELETE_SPECIFIC = 3


@dataclass(frozen=True, slots=True)
class SpecificPaths:
    """Only these."""

    paths: frozenset[StorePath]
    delete_referrers: bool = False
    """Take what refers to them along if it is dead (feature `delete-dead-specific-referrers`)."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection found or freed."""

    paths: frozenset[str]
    bytes_freed: int


_UNLIMITED: Final = (1 << 64) - 1


def _read_paths(paths: frozenset[StorePath], _: Dialect) -> SpecificPaths:
    return SpecificPaths(paths)


def _write_paths(value: SpecificPaths | None, dialect: Dialect) -> frozenset[StorePath]:
    if value is None:
        return frozenset()
    if value.delete_referrers:
        raise LocalProtocolError(f"{dialect} cannot ask to delete referrers along")
    return value.paths


_scope_now: Final[Codec[SpecificPaths | None]] = tagged(
    {
        0: layout(SpecificPaths, paths=on(path_set), delete_referrers=on(boolean)),
        1: nothing,
    },
    lambda value: int(value is None),
    "scope of a garbage collection",
)
_scope_once: Final = via(path_set, _read_paths, _write_paths)


def _scope(dialect: Dialect) -> Codec[Any]:
    return _scope_now if DELETE_DEAD_REFERRERS in dialect.features else _scope_once


def _conclude(inner: Codec["CollectGarbage"]) -> Codec["CollectGarbage"]:
    """Without the feature, no paths mean the whole store, except to `DELETE_SPECIFIC`."""

    def means_all(value: "CollectGarbage", dialect: Dialect) -> bool:
        return (
            DELETE_DEAD_REFERRERS not in dialect.features
            and value.action is not GcAction.DELETE_SPECIFIC
            and value.scope is not None
            and not value.scope.paths
        )

    def read(value: "CollectGarbage", dialect: Dialect) -> "CollectGarbage":
        return replace(value, scope=None) if means_all(value, dialect) else value

    def write(value: "CollectGarbage", dialect: Dialect) -> "CollectGarbage":
        if means_all(value, dialect):
            raise LocalProtocolError(f"{dialect} would take no paths for all paths")
        return value

    return via(inner, read, write)


@operation(
    20,
    reply=layout(Collected, paths=on(text_set), bytes_freed=on(followed_by(u64, obsolete()))),
    mend=_conclude,
)
class CollectGarbage(Request[Collected]):
    """Look for garbage, or delete it."""

    action: GcAction = wire(enumeration(GcAction))
    scope: SpecificPaths | None = wire(choice(_scope), default=None)
    """None: the whole store."""
    ignore_liveness: bool = wire(boolean, default=False)
    """Refused by every daemon when true."""
    max_freed: int = wire(
        followed_by(u64, followed_by(obsolete(), followed_by(obsolete(), obsolete()))),
        default=_UNLIMITED,
    )
    """Bytes after which to stop."""

    @classmethod
    def delete(cls, paths: frozenset[StorePath]) -> Self:
        """Delete these, as far as nothing else keeps them."""
        return cls(GcAction.DELETE_SPECIFIC, SpecificPaths(paths))


@operation(34, reply=done, since=minor(14))
class OptimiseStore(Request[None]):
    """Replace equal files by hard links."""


@operation(35, reply=boolean, since=minor(14))
class VerifyStore(Request[bool]):
    """Are there errors in the store?"""

    check_contents: bool = wire(boolean)
    repair: bool = wire(boolean, default=False)


_u32: Final = number(0xFFFF_FFFF)


@operation(19, reply=nothing)
class SetOptions(Request[None]):
    """Settings for the rest of the connection.  Never sent over `ssh-ng`."""

    keep_failed: bool = wire(boolean, default=False)
    keep_going: bool = wire(boolean, default=False)
    try_fallback: bool = wire(boolean, default=False)
    verbosity: int = wire(level, default=Verbosity.INFO)
    max_build_jobs: int = wire(_u32, default=1)
    max_silent_time: int = wire(followed_by(u64, obsolete(1)), default=0)
    """Seconds; 0 for no end.  The word behind it once was "use the build hook"."""
    verbose_build: int = wire(
        followed_by(level, followed_by(obsolete(), obsolete())), default=Verbosity.VOMIT
    )
    """`ERROR` to show what builders print; `VOMIT` not to."""
    build_cores: int = wire(_u32, default=0)
    """0 for all there are."""
    use_substitutes: bool = wire(boolean, default=True)
    overrides: Mapping[str, str] = wire(map_of(text, text), default_factory=dict)
    """Settings by name."""

    @classmethod
    def plain(
        cls, *, use_substitutes: bool = True, overrides: Mapping[str, str] | None = None
    ) -> Self:
        """The defaults of Nix's own client, but for these."""
        return cls(use_substitutes=use_substitutes, overrides=overrides or {})
