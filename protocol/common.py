"""Formats that the worker and the serve protocol spell alike.

| codec | wire |
|---|---|
| `store_path` | text of the full path |
| `optional_store_path` | the same; empty for none |
| `base_name` | text without the store directory |
| `path_set` | set of full paths |
| `content_address`, `optional_content_address` | text `fixed:r:sha256:<nix32>`; empty for none |
| `signatures` | set of texts `<key name>:<base 64>`, not parsed |
| `nar_hash` | text: SHA-256 in base 16, without prefix; any spelling is read |
| `realisation_json` | text: JSON, see `protocol.store.realisation` |
| `realisation_by_path` | `.drv` path, output name, `unkeyed_realisation` |
| `unkeyed_realisation` | path, list of signatures |
| `basic_derivation` | outputs (name, path, algorithm, hash), sources, system, builder, args, env |
| `built_outputs_json` | map of `sha256:<hash modulo>!<output>` to `realisation_json` |
| `built_outputs` | map of output name to `unkeyed_realisation` |

Checked against Nix's `CommonProto`, `readDerivation`, `writeDerivation`, and its golden files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from protocol.errors import LimitExceeded, RemoteProtocolError, inside
from protocol.store.content_address import ContentAddress
from protocol.store.derivation import (
    BasicDerivation,
    Output,
    check_outputs,
    output_texts,
    read_output,
)
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import StorePath
from protocol.store.realisation import (
    DrvOutput,
    DrvOutputByPath,
    Realisation,
    UnkeyedRealisation,
)
from protocol.version import Dialect
from protocol.wire.codec import (
    Codec,
    blob,
    list_of,
    map_of,
    sequence,
    set_of,
    text,
    text_up_to,
    to_bytes,
    via,
)
from protocol.wire.layout import layout, on
from protocol.wire.source import WORD, Source

MAX_PATH: Final = 4096
"""Bytes of a path as Linux takes them."""

_short: Final = text_up_to(MAX_PATH)
_bytes: Final = blob(MAX_PATH)
_unpack: Final = WORD.unpack_from
_parse: Final = StorePath.parse


def _store_path_get(source: Source, dialect: Dialect) -> StorePath:
    # The codec that everything else waits for: a set of paths is most of what is sent.  It does
    # what `blob` and `StorePath.parse` do, in one call.
    data, at = source.data, source.at
    start = at + 8
    if start > len(data):
        source.lack(start - len(data))
    (size,) = _unpack(data, at)
    if size > MAX_PATH:
        raise LimitExceeded(f"a path of {size} bytes, at most {MAX_PATH} are accepted")
    end = start + size
    stop = end + (-size & 7)
    if stop > len(data):
        source.lack(stop - len(data))
    if stop != end and any(data[end:stop]):
        raise RemoteProtocolError("the padding of a string is not zero")
    source.at = stop
    return _parse(data[start:end].decode("utf-8", "surrogateescape"), dialect.store_dir)


def _text_put(value: str, dialect: Dialect) -> bytes:
    return _bytes.put(to_bytes(value), dialect)


store_path: Final[Codec[StorePath]] = Codec(_store_path_get, _text_put)


def _read_optional_path(value: str, dialect: Dialect) -> StorePath | None:
    return StorePath.parse(value, dialect.store_dir) if value else None


optional_store_path: Final[Codec[StorePath | None]] = via(
    _short, _read_optional_path, lambda value, _: value or ""
)
base_name: Final[Codec[StorePath]] = via(
    _short,
    lambda value, dialect: StorePath.of(value, dialect.store_dir),
    lambda value, _: value.base,
)


def _path_order(path: StorePath) -> str:
    return path  # ASCII: texts and bytes sort alike


path_set: Final = set_of(store_path, order=_path_order)

content_address: Final[Codec[ContentAddress]] = via(
    _short, lambda value, _: ContentAddress.parse(value), lambda value, _: value.render()
)
optional_content_address: Final[Codec[ContentAddress | None]] = via(
    _short,
    lambda value, _: ContentAddress.parse(value) if value else None,
    lambda value, _: "" if value is None else value.render(),
)
nar_hash: Final[Codec[Hash]] = via(
    _short,
    lambda value, _: Hash.parse(value, HashAlgorithm.SHA256),
    lambda value, _: value.base16(),
)
signatures: Final = set_of(_short)
text_set: Final = set_of(text)
text_list: Final = list_of(text)


realisation_json: Final[Codec[Realisation]] = via(
    text,
    lambda value, dialect: Realisation.parse(value, dialect.store_dir),
    lambda value, _: value.render(),
)
drv_output: Final[Codec[DrvOutput]] = via(
    _short, lambda value, _: DrvOutput.parse(value), lambda value, _: str(value)
)
drv_output_by_path: Final = layout(DrvOutputByPath, path=on(store_path), output=on(_short))
unkeyed_realisation: Final = layout(
    UnkeyedRealisation, out_path=on(store_path), signatures=on(list_of(_short))
)


@dataclass(frozen=True, slots=True)
class RealisationByPath:
    """Where an output is, named by the path of its derivation."""

    id: DrvOutputByPath
    value: UnkeyedRealisation


realisation_by_path: Final = layout(
    RealisationByPath, id=on(drv_output_by_path), value=on(unkeyed_realisation)
)

AnyRealisation: TypeAlias = Realisation | RealisationByPath
AnyDrvOutput: TypeAlias = DrvOutput | DrvOutputByPath

_output: Final[Codec[Output]] = via(
    sequence(_short, sequence(_short, _short)),
    lambda texts, dialect: read_output(texts[0], *texts[1], dialect.store_dir),
    lambda output, _: _nest(output_texts(output)),
)


def _nest(texts: tuple[str, str, str]) -> tuple[str, tuple[str, str]]:
    return texts[0], (texts[1], texts[2])


def _checked(value: BasicDerivation, _: Dialect) -> BasicDerivation:
    with inside("outputs"):
        check_outputs(value.outputs)
    return value


basic_derivation: Final[Codec[BasicDerivation]] = via(
    layout(
        BasicDerivation,
        outputs=on(map_of(_short, _output)),
        input_sources=on(path_set),
        platform=on(text),
        builder=on(text),
        args=on(text_list),
        env=on(map_of(text, text)),
    ),
    _checked,
    lambda value, _: value,
)

BuiltOutputs: TypeAlias = Mapping[str, Realisation | UnkeyedRealisation]


def _read_json_outputs(value: Mapping[DrvOutput, Realisation], _: Dialect) -> BuiltOutputs:
    found: dict[str, Realisation | UnkeyedRealisation] = {}
    for key, realisation in value.items():
        if key != realisation.id:
            raise RemoteProtocolError(f"the realisation of `{key}` calls itself `{realisation.id}`")
        if key.output in found:
            raise RemoteProtocolError(f"two realisations of the output `{key.output}`")
        found[key.output] = realisation
    return found


def _write_json_outputs(value: BuiltOutputs, _: Dialect) -> Mapping[DrvOutput, Realisation]:
    texts = (
        realisation
        if isinstance(realisation, Realisation)
        else Realisation.minimal(name, realisation.out_path)
        for name, realisation in value.items()
    )
    return {realisation.id: realisation for realisation in texts}


built_outputs_json: Final[Codec[BuiltOutputs]] = via(
    map_of(drv_output, realisation_json), _read_json_outputs, _write_json_outputs
)


def _read_outputs(value: Mapping[str, UnkeyedRealisation], _: Dialect) -> BuiltOutputs:
    return dict(value)


def _write_outputs(value: BuiltOutputs, _: Dialect) -> Mapping[str, UnkeyedRealisation]:
    return {
        name: realisation.unkeyed() if isinstance(realisation, Realisation) else realisation
        for name, realisation in value.items()
    }


built_outputs: Final[Codec[BuiltOutputs]] = via(
    map_of(_short, unkeyed_realisation), _read_outputs, _write_outputs
)
