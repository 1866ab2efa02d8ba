"""How values of the store, and the replies of this protocol, are laid out on its wire.

| value | fields in order |
|---|---|
| path info | deriver, references, download size, NAR size |
| ... since 2.4 | NAR hash, content address, signatures |
| build result | status, message |
| ... since 2.3 | times built, non-deterministic, start time, stop time |
| ... since 2.6 | built outputs |
| build options | silent time, timeout; since 2.2 log size |
| ... since 2.3 | repeats, determinism; since 2.7 keep failed |
| paths and infos | path, path info, ..., and an empty text at the end |

Neither registration time nor `ultimate` is told of a path; its NAR hash is `sha256:<nix32>`, where
the worker protocol writes bare base 16.  Below 2.4 there is no hash: it is all zeroes here.
Outputs are JSON realisations up to 2.7 and paths with signatures since 2.8.  CPU times are never
told.  Checked against Nix's `serve-protocol.cc` of 2.26 and 2.36, `nix-store.cc` of 2.8, and bytes
recorded from 2.8.
"""

from dataclasses import dataclass
from typing import Final

from protocol import common
from protocol.errors import LimitExceeded
from protocol.limits import MAX_ITEMS
from protocol.serve.values import BuildOptions, BuildPathsResult
from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.content_address import ContentAddress
from protocol.store.derived_path import DerivedPath, parse_derived_path
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Dialect, Number
from protocol.wire.codec import Codec, boolean, choice, enumeration, i64, number, text, u64, via
from protocol.wire.layout import layout, on
from protocol.wire.source import Source, Underrun

_u32: Final = number(0xFFFF_FFFF)
_UNKNOWN: Final = Hash(HashAlgorithm.SHA256, bytes(32))

derived_path: Final[Codec[DerivedPath]] = via(
    text,
    lambda value, dialect: parse_derived_path(value, dialect.store_dir, legacy=True),
    lambda value, _: value.render(legacy=True),
)
"""In the form of worker versions below 1.30, in every version."""

nar_hash: Final[Codec[Hash]] = via(
    text,
    # Stores that do not know a hash send nothing; Nix fails later on if it needs one.
    lambda value, _: Hash.parse(value) if value else _UNKNOWN,
    lambda value, _: str(value),
)
"""With the algorithm before it, in base 32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Info:
    """A path info as it is on the wire."""

    deriver: StorePath | None
    references: frozenset[StorePath]
    download_size: int
    nar_size: int
    nar_hash: Hash = _UNKNOWN
    content_address: ContentAddress | None = None
    signatures: frozenset[str] = frozenset()


_info: Final = layout(
    _Info,
    deriver=on(common.optional_store_path),
    references=on(common.path_set),
    download_size=on(u64),
    nar_size=on(u64),
    nar_hash=on(nar_hash, since=Number(2, 4)),
    content_address=on(common.optional_content_address, since=Number(2, 4)),
    signatures=on(common.signatures, since=Number(2, 4)),
)


def _read_info(value: _Info, _: Dialect) -> PathInfo:
    return PathInfo(
        deriver=value.deriver,
        nar_hash=value.nar_hash,
        references=value.references,
        nar_size=value.nar_size,
        signatures=value.signatures,
        content_address=value.content_address,
    )


def _write_info(value: PathInfo, _: Dialect) -> _Info:
    # What is downloaded is the NAR itself: servers of Nix write the same number twice.
    return _Info(
        deriver=value.deriver,
        references=value.references,
        download_size=value.nar_size,
        nar_size=value.nar_size,
        nar_hash=value.nar_hash,
        content_address=value.content_address,
        signatures=value.signatures,
    )


path_info: Final[Codec[PathInfo]] = via(_info, _read_info, _write_info)

build_options: Final[Codec[BuildOptions]] = layout(
    BuildOptions,
    max_silent_time=on(_u32),
    build_timeout=on(_u32),
    max_log_size=on(u64, since=Number(2, 2)),
    nr_repeats=on(_u32, since=Number(2, 3)),
    enforce_determinism=on(boolean, since=Number(2, 3)),
    keep_failed=on(boolean, since=Number(2, 7)),
)

build_result: Final[Codec[BuildResult]] = layout(
    BuildResult,
    status=on(enumeration(BuildStatus)),
    error_message=on(text),
    times_built=on(u64, since=Number(2, 3)),
    is_non_deterministic=on(boolean, since=Number(2, 3)),
    start_time=on(i64, since=Number(2, 3)),
    stop_time=on(i64, since=Number(2, 3)),
    built_outputs=on(
        choice(
            lambda dialect: (
                common.built_outputs
                if dialect.number >= Number(2, 8)
                else common.built_outputs_json
            )
        ),
        since=Number(2, 6),
    ),
)


def _get_built(source: Source, dialect: Dialect) -> BuildPathsResult:
    saved = source.resume()
    status = source.u64() if saved is None else saved
    if not status:
        return BuildPathsResult()
    try:
        return BuildPathsResult(status, text.get(source, dialect))
    except Underrun:
        source.save(status)
        raise


def _put_built(value: BuildPathsResult, dialect: Dialect) -> bytes:
    message = b"" if value.is_success else text.put(value.message, dialect)
    return u64.put(value.status, dialect) + message


build_paths_result: Final[Codec[BuildPathsResult]] = Codec(_get_built, _put_built)


def _get_infos(source: Source, dialect: Dialect) -> tuple[tuple[StorePath, PathInfo], ...]:
    infos: list[tuple[StorePath, PathInfo]]
    path: StorePath | None
    saved = source.resume()
    infos, path = ([], None) if saved is None else saved
    try:
        while True:
            if path is None:
                path = common.optional_store_path.get(source, dialect)
            if path is None:
                return tuple(infos)
            if len(infos) == MAX_ITEMS:
                raise LimitExceeded(f"infos about more than {MAX_ITEMS} paths")
            infos.append((path, path_info.get(source, dialect)))
            path = None
    except Underrun:
        source.save((infos, path))
        raise


def _put_infos(value: tuple[tuple[StorePath, PathInfo], ...], dialect: Dialect) -> bytes:
    parts = [
        part
        for path, info in value
        for part in (common.store_path.put(path, dialect), path_info.put(info, dialect))
    ]
    return b"".join((*parts, text.put("", dialect)))


path_infos: Final[Codec[tuple[tuple[StorePath, PathInfo], ...]]] = Codec(_get_infos, _put_infos)
"""Those of the paths asked for that are valid: others are left out, and nothing is counted."""
