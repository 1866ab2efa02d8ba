"""The types that `nix-shim decode` and `encode` know: name, wire format and JSON form of each.

Names are those of Nix's own golden files.  `vector` and `set` are the two that the wire does not
tell apart from a vector of vectors and a set of sets: both readings are given, the flat one first
(`shim.valuejson.convert` chooses).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from protocol import common
from protocol.errors import RemoteProtocolError, inside
from protocol.serve import connection as serve_connection
from protocol.serve import results as serve
from protocol.serve.values import NEWEST as NEWEST_SERVE
from protocol.serve.values import BuildOptions
from protocol.version import PATH_NOT_HASH, Dialect, Number
from protocol.wire.codec import (
    Codec,
    list_of,
    literal,
    number,
    preceded_by,
    set_of,
    text,
    to_bytes,
    u64,
    via,
)
from protocol.wire.layout import layout, on
from protocol.worker import handshake
from protocol.worker import results as worker
from protocol.worker.handshake import ServerInfo, Trust
from protocol.worker.versions import NEWEST as NEWEST_WORKER
from shim.valuejson import form, values
from shim.valuejson.form import Form, Object


class Protocol(StrEnum):
    """Whose layouts are meant."""

    WORKER = "worker"
    SERVE = "serve"
    COMMON = "common"
    """What both spell alike; has no versions."""


NEWEST: Final[Mapping[Protocol, Number]] = {
    Protocol.WORKER: NEWEST_WORKER,
    Protocol.SERVE: NEWEST_SERVE,
    Protocol.COMMON: NEWEST_WORKER,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to understand the bytes of a type."""

    codec: Codec[Any]
    form: Form[Any]


Readings: TypeAlias = tuple[Reading, ...]
"""All ways, the likeliest first."""

Type: TypeAlias = Callable[[Dialect], Readings]
"""A type: its readings in a dialect.  Raises `RemoteProtocolError` where the dialect has none."""


def _always(codec: Codec[Any], json: Form[Any], *more: Reading) -> Type:
    readings = (Reading(codec, json), *more)
    return lambda _: readings


def _only(reading: Reading) -> Type:
    return lambda _: (reading,)


def _by_path(
    old: Reading | None, new: Reading, is_new: Callable[[Dialect], bool], when: str
) -> Type:
    def pick(dialect: Dialect) -> Readings:
        if is_new(dialect):
            return (new,)
        if old is None:
            raise RemoteProtocolError(f"the type exists {when} only")
        return (old,)

    return pick


def _path_info(codec: Codec[Any]) -> Type:
    return lambda dialect: (Reading(codec, values.path_info(dialect.store_dir)),)


def _valid_path_info(dialect: Dialect) -> Readings:
    return (Reading(worker.valid_path_info, values.valid_path_info(dialect.store_dir)),)


_JSON_REALISATION: Final = Reading(common.realisation_json, values.realisation)
_OLD_OUTPUT: Final = Reading(common.drv_output, values.drv_output)
_REALISATION: Final = Reading(common.realisation_by_path, values.realisation_by_path)
_OUTPUT: Final = Reading(common.drv_output_by_path, values.drv_output_by_path)
_UNKEYED: Final = Reading(common.unkeyed_realisation, values.unkeyed_realisation)

_COMMON: Final[Mapping[str, Type]] = {
    "basic-derivation": _always(common.basic_derivation, values.basic_derivation),
    "content-address": _always(common.content_address, values.content_address),
    "drv-output": _always(_OLD_OUTPUT.codec, _OLD_OUTPUT.form),
    "optional-content-address": _always(
        common.optional_content_address, form.optional(values.content_address)
    ),
    "optional-store-path": _always(common.optional_store_path, form.optional(values.store_path)),
    "realisation": _always(_JSON_REALISATION.codec, _JSON_REALISATION.form),
    "realisation-with-deps": _always(_JSON_REALISATION.codec, _JSON_REALISATION.form),
    "set": _always(
        set_of(text),
        form.set_of(form.text),
        Reading(
            set_of(set_of(text), order=lambda item: sorted(map(to_bytes, item))),
            form.set_of(form.set_of(form.text)),
        ),
    ),
    "store-path": _always(common.store_path, values.store_path),
    "string": _always(text, form.text),
    "vector": _always(
        list_of(text),
        form.list_of(form.text),
        Reading(list_of(list_of(text)), form.list_of(form.list_of(form.text))),
    ),
}


def _old_or_new(is_new: Callable[[Dialect], bool], when: str) -> Mapping[str, Type]:
    return {
        "drv-output": _by_path(_OLD_OUTPUT, _OUTPUT, is_new, when),
        "realisation": _by_path(_JSON_REALISATION, _REALISATION, is_new, when),
        "unkeyed-realisation": _by_path(None, _UNKEYED, is_new, when),
    }


_TRUST: Final = {Trust.UNKNOWN: None, Trust.TRUSTED: True, Trust.NOT_TRUSTED: False}
_UNTRUST: Final = {said: trust for trust, said in _TRUST.items()}

_trust: Final[Form[Trust]] = Form(
    lambda value: _TRUST[value],
    lambda value, store_dir: _UNTRUST[form.optional(form.truth).read(value, store_dir)],
)


def _read_server_info(value: Any, store_dir: str) -> ServerInfo:
    keys = Object(value, store_dir)
    info = ServerInfo(
        keys.get("daemonNixVersion", form.optional(form.text), None) or "",
        keys.get("remoteTrustsUs", _trust, Trust.UNKNOWN),
    )
    keys.end()
    return info


_server_info: Final[Form[ServerInfo]] = Form(
    lambda value: {
        "daemonNixVersion": value.daemon_version or None,
        "remoteTrustsUs": _TRUST[value.trust],
    },
    _read_server_info,
)


@dataclass(frozen=True, slots=True)
class _Greeting:
    """What a server says first."""

    number: Number
    features: frozenset[str] = frozenset()


_version: Final = via(
    number(0xFFFF), lambda value, _: Number.from_word(value), lambda value, _: value.word
)


def _read_greeting(value: Any, store_dir: str) -> _Greeting:
    keys = Object(value, store_dir)
    with inside("version"):
        version = Number.parse(keys.take("version", form.text))
    greeting = _Greeting(version, keys.get("features", form.set_of(form.text), frozenset()))
    keys.end()
    return greeting


def _greeting(magic: int, features_since: Number | None) -> Reading:
    fields = {"number": on(_version)}
    if features_since:
        fields["features"] = on(common.text_set, since=features_since)
    return Reading(
        preceded_by(literal(u64, magic), layout(_Greeting, **fields)),
        Form(
            lambda value: {"version": str(value.number), "features": sorted(value.features)},
            _read_greeting,
        ),
    )


def _read_options(value: Any, store_dir: str) -> BuildOptions:
    keys = Object(value, store_dir)
    options = BuildOptions(
        max_silent_time=keys.take("maxSilentTime", form.number),
        build_timeout=keys.take("buildTimeout", form.number),
        max_log_size=keys.get("maxLogSize", form.number, 0),
        nr_repeats=keys.get("nrRepeats", form.number, 0),
        enforce_determinism=keys.get("enforceDeterminism", form.truth, False),
        keep_failed=keys.get("keepFailed", form.truth, False),
    )
    keys.end()
    return options


_build_options: Final[Form[BuildOptions]] = Form(
    lambda value: {
        "maxSilentTime": value.max_silent_time,
        "buildTimeout": value.build_timeout,
        "maxLogSize": value.max_log_size,
        "nrRepeats": value.nr_repeats,
        "enforceDeterminism": value.enforce_determinism,
        "keepFailed": value.keep_failed,
    },
    _read_options,
)

TYPES: Final[Mapping[Protocol, Mapping[str, Type]]] = {
    Protocol.COMMON: _COMMON,
    Protocol.WORKER: {
        **_COMMON,
        **_old_or_new(
            lambda dialect: PATH_NOT_HASH in dialect.features, f"with the feature {PATH_NOT_HASH}"
        ),
        "build-mode": _always(worker.build_mode, form.numbered(worker.BuildMode)),
        "build-result": _always(worker.build_result, values.build_result),
        "client-handshake-info": _always(handshake.server_info, _server_info),
        "derived-path": _always(worker.derived_path, values.derived_path),
        "handshake-to-client": lambda _: (
            _greeting(handshake.SERVER_MAGIC, handshake.FEATURES_SINCE),
        ),
        "keyed-build-result": _always(worker.keyed_build_result, values.keyed_build_result),
        "optional-trusted-flag": _always(handshake.trust, _trust),
        "single-derived-path": _always(worker.single_derived_path, values.single_derived_path),
        "unkeyed-valid-path-info": _path_info(worker.path_info),
        "valid-path-info": _valid_path_info,
    },
    Protocol.SERVE: {
        **_COMMON,
        **_old_or_new(lambda dialect: dialect.number >= Number(2, 8), "since version 2.8"),
        "build-options": _always(serve.build_options, _build_options),
        "build-result": _always(serve.build_result, values.build_result),
        "derived-path": _always(serve.derived_path, values.derived_path),
        "handshake-to-client": _only(_greeting(serve_connection.SERVER_MAGIC, None)),
        "unkeyed-valid-path-info": _path_info(serve.path_info),
    },
}
"""Every type by the protocol and by its name."""


def readings(protocol: Protocol, name: str, dialect: Dialect) -> Readings:
    """The ways to read a type.

    Raises:
        RemoteProtocolError: the protocol has no such type, or not in that dialect.
    """
    kind = TYPES[protocol].get(name)
    if kind is None:
        raise RemoteProtocolError(f"the {protocol} protocol has no type `{name}`")
    with inside(name):
        return kind(dialect)
