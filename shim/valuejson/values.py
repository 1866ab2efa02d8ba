r"""The values of Nix's protocols as JSON and back, for `nix-shim decode` and `nix-shim encode`.

The forms follow Nix's own JSON where it has one, and lose nothing that is on the wire:

| value | JSON |
|---|---|
| number, truth value, text, list | the same; sets and maps in ascending order |
| bytes of a text that are not UTF-8 | `\udc80` ... `\udcff` for the bytes 0x80 ... 0xff |
| none | `null` |
| store path | base name, `<digest>-<name>` |
| hash | `sha256-<base 64>` |
| content address | `{"method": "text" | "flat" | "nar" | "git", "hash"}` |
| derived path | a base name, or `{"drvPath", "outputs"}` where `["*"]` means all of them |
| output of an output | `{"drvPath", "output"}` in place of the inner base name |
| signature | `{"keyName", "sig"}`; a text without colon as it is |
| path info | version 3 of Nix's form: `narHash`, `narSize`, `references`, `ca`, `deriver`, ... |
| build result | `status` by name; keys of the other outcome only where they say something |
| realisation, old identity | the object that is on the wire as JSON text |
| realisation, new identity | `{"key": {"drvPath", "outputName"}, "value": <where>}` |
| where an output is | `{"outPath", "signatures"}` |
| derivation | `outputs`, `inputSrcs`, `system`, `builder`, `args`, `env` |

Knows no codec and reads no file.
"""

from typing import Any, Final

from protocol.common import RealisationByPath
from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import BasicDerivation, Output, output_texts, read_output
from protocol.store.derived_path import (
    Built,
    DerivedPath,
    Opaque,
    SingleBuilt,
    SingleDerivedPath,
)
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.realisation import DrvOutput, DrvOutputByPath, Realisation, UnkeyedRealisation
from protocol.worker.results import ValidPathInfo
from shim.valuejson.form import (
    BadJson,
    Form,
    Object,
    expect,
    list_of,
    map_of,
    number,
    optional,
    set_of,
    text,
    text_of,
    truth,
)

store_path: Final[Form[StorePath]] = Form(
    lambda value: value.base, lambda value, store_dir: StorePath.of(text_of(value), store_dir)
)
hash_value: Final[Form[Hash]] = Form(
    lambda value: value.sri(), lambda value, _: Hash.parse(text_of(value))
)


def _read_method(value: Any, _: str) -> Method:
    try:
        return Method(text_of(value))
    except ValueError:
        raise BadJson(f"expected text, flat, nar or git, found `{value}`") from None


_method: Final[Form[Method]] = Form(lambda value: value.value, _read_method)


def _read_content_address(value: Any, store_dir: str) -> ContentAddress:
    keys = Object(value, store_dir)
    address = ContentAddress(keys.take("method", _method), keys.take("hash", hash_value))
    keys.end()
    return address


content_address: Final[Form[ContentAddress]] = Form(
    lambda value: {"method": value.method.value, "hash": value.hash.sri()},
    _read_content_address,
)


def _write_signature(value: str) -> Any:
    name, colon, signed = value.partition(":")
    return {"keyName": name, "sig": signed} if colon else value


def _read_signature(value: Any, store_dir: str) -> str:
    if isinstance(value, str):
        return value
    keys = Object(value, store_dir)
    signature = f"{keys.take('keyName', text)}:{keys.take('sig', text)}"
    keys.end()
    return signature


signature: Final[Form[str]] = Form(_write_signature, _read_signature)


def _write_single(value: SingleDerivedPath) -> Any:
    match value:
        case SingleBuilt(derivation, output):
            return {"drvPath": _write_single(derivation), "output": output}
        case StorePath():
            return value.base


def _read_single(value: Any, store_dir: str) -> SingleDerivedPath:
    if isinstance(value, str):
        return StorePath.of(value, store_dir)
    keys = Object(value, store_dir)
    built = SingleBuilt(keys.take("drvPath", single_derived_path), keys.take("output", text))
    keys.end()
    return built


single_derived_path: Final[Form[SingleDerivedPath]] = Form(_write_single, _read_single)


def _write_derived(value: DerivedPath) -> Any:
    match value:
        case Opaque(path):
            return path.base
        case Built(derivation, outputs):
            return {"drvPath": _write_single(derivation), "outputs": sorted(outputs)}


def _read_derived(value: Any, store_dir: str) -> DerivedPath:
    if isinstance(value, str):
        return Opaque(StorePath.of(value, store_dir))
    keys = Object(value, store_dir)
    built = Built(keys.take("drvPath", single_derived_path), keys.take("outputs", set_of(text)))
    keys.end()
    return built


derived_path: Final[Form[DerivedPath]] = Form(_write_derived, _read_derived)


def _read_drv_output(value: Any, _: str) -> DrvOutput:
    return DrvOutput.parse(text_of(value))


drv_output: Final[Form[DrvOutput]] = Form(str, _read_drv_output)


def _read_drv_output_by_path(value: Any, store_dir: str) -> DrvOutputByPath:
    keys = Object(value, store_dir)
    output = DrvOutputByPath(keys.take("drvPath", store_path), keys.take("outputName", text))
    keys.end()
    return output


drv_output_by_path: Final[Form[DrvOutputByPath]] = Form(
    lambda value: {"drvPath": value.path.base, "outputName": value.output},
    _read_drv_output_by_path,
)

realisation: Final[Form[Realisation]] = Form(Realisation.as_json, Realisation.from_json)


def _read_unkeyed(value: Any, store_dir: str) -> UnkeyedRealisation:
    keys = Object(value, store_dir)
    unkeyed = UnkeyedRealisation(
        keys.take("outPath", store_path), keys.get("signatures", list_of(signature), ())
    )
    keys.end()
    return unkeyed


unkeyed_realisation: Final[Form[UnkeyedRealisation]] = Form(
    lambda value: {
        "outPath": value.out_path.base,
        "signatures": [signature.write(item) for item in value.signatures],
    },
    _read_unkeyed,
)


def _read_by_path(value: Any, store_dir: str) -> RealisationByPath:
    keys = Object(value, store_dir)
    both = RealisationByPath(
        keys.take("key", drv_output_by_path), keys.take("value", unkeyed_realisation)
    )
    keys.end()
    return both


realisation_by_path: Final[Form[RealisationByPath]] = Form(
    lambda value: {
        "key": drv_output_by_path.write(value.id),
        "value": unkeyed_realisation.write(value.value),
    },
    _read_by_path,
)


# Build results.


def _status_name(status: BuildStatus) -> str:
    return status.name.title().replace("_", "")


_STATUSES: Final = {_status_name(status): status for status in BuildStatus}


def _read_status(value: Any, _: str) -> BuildStatus:
    name = text_of(value)
    if name not in _STATUSES:
        raise BadJson(f"unknown status of a build: `{name}`")
    return _STATUSES[name]


_status: Final[Form[BuildStatus]] = Form(_status_name, _read_status)


def _write_output(value: Realisation | UnkeyedRealisation) -> Any:
    match value:
        case Realisation():
            # What 2.35 tells older peers has no identity in fact: only path and output are known.
            if value == Realisation.minimal(value.id.output, value.out_path):
                return unkeyed_realisation.write(value.unkeyed())
            return realisation.write(value)
        case UnkeyedRealisation():
            return unkeyed_realisation.write(value)


def _read_output(value: Any, store_dir: str) -> Realisation | UnkeyedRealisation:
    if "id" in expect(value, dict, "an object"):
        return realisation.read(value, store_dir)
    return unkeyed_realisation.read(value, store_dir)


_outputs: Final = map_of(Form(_write_output, _read_output))


def _write_result(value: BuildResult) -> dict[str, Any]:
    written: dict[str, Any] = {
        "status": _status_name(value.status),
        "success": value.is_success,
        "timesBuilt": value.times_built,
        "startTime": value.start_time,
        "stopTime": value.stop_time,
    }
    # Nix's form has these by outcome; what the other outcome does carry is not dropped.
    if not value.is_success or value.error_message:
        written["errorMsg"] = value.error_message
    if not value.is_success or value.is_non_deterministic:
        written["isNonDeterministic"] = value.is_non_deterministic
    if value.is_success or value.built_outputs:
        written["builtOutputs"] = _outputs.write(value.built_outputs)
    if value.cpu_user is not None:
        written["cpuUser"] = value.cpu_user
    if value.cpu_system is not None:
        written["cpuSystem"] = value.cpu_system
    return written


def _take_result(keys: Object) -> BuildResult:
    keys.skip("success")
    result = BuildResult(
        status=keys.take("status", _status),
        error_message=keys.get("errorMsg", text, ""),
        times_built=keys.get("timesBuilt", number, 0),
        is_non_deterministic=keys.get("isNonDeterministic", truth, False),
        start_time=keys.get("startTime", number, 0),
        stop_time=keys.get("stopTime", number, 0),
        cpu_user=keys.get("cpuUser", optional(number), None),
        cpu_system=keys.get("cpuSystem", optional(number), None),
        built_outputs=keys.get("builtOutputs", _outputs, {}),
    )
    keys.end()
    return result


build_result: Final[Form[BuildResult]] = Form(
    _write_result, lambda value, store_dir: _take_result(Object(value, store_dir))
)


def _read_keyed_result(value: Any, store_dir: str) -> tuple[DerivedPath, BuildResult]:
    keys = Object(value, store_dir)
    return keys.take("path", derived_path), _take_result(keys)


keyed_build_result: Final[Form[tuple[DerivedPath, BuildResult]]] = Form(
    lambda value: {"path": _write_derived(value[0]), **_write_result(value[1])},
    _read_keyed_result,
)


# Path infos.

_PATH_INFO_VERSION: Final = 3
"""The version of Nix's JSON form that this one follows."""


def _write_info(value: PathInfo, store_dir: str) -> dict[str, Any]:
    return {
        "version": _PATH_INFO_VERSION,
        "storeDir": store_dir,
        "deriver": optional(store_path).write(value.deriver),
        "narHash": value.nar_hash.sri(),
        "narSize": value.nar_size,
        "references": set_of(store_path).write(value.references),
        "registrationTime": value.registration_time or None,
        "ultimate": value.ultimate,
        "signatures": [signature.write(item) for item in sorted(value.signatures)],
        "ca": optional(content_address).write(value.content_address),
    }


def _take_info(keys: Object) -> PathInfo:
    keys.skip("version", "storeDir")
    info = PathInfo(
        deriver=keys.get("deriver", optional(store_path), None),
        nar_hash=keys.take("narHash", hash_value),
        references=keys.get("references", set_of(store_path), frozenset()),
        registration_time=keys.get("registrationTime", optional(number), None) or 0,
        nar_size=keys.get("narSize", number, 0),
        ultimate=keys.get("ultimate", truth, False),
        signatures=keys.get("signatures", set_of(signature), frozenset()),
        content_address=keys.get("ca", optional(content_address), None),
    )
    keys.end()
    return info


def path_info(store_dir: str) -> Form[PathInfo]:
    """What is known of a path; the JSON repeats the store directory, as Nix's does."""
    return Form(
        lambda value: _write_info(value, store_dir),
        lambda value, where: _take_info(Object(value, where)),
    )


def valid_path_info(store_dir: str) -> Form[ValidPathInfo]:
    """The same with the path itself."""

    def read(value: Any, where: str) -> ValidPathInfo:
        keys = Object(value, where)
        return ValidPathInfo(keys.take("path", store_path), _take_info(keys))

    return Form(lambda value: {"path": value.path.base, **_write_info(value.info, store_dir)}, read)


# Derivations as builders are sent them.


def _write_drv_output(value: Output) -> Any:
    path, algorithm, digest = output_texts(value)
    return {"path": path, "hashAlgo": algorithm, "hash": digest}


def _read_drv_output_kind(value: Any, store_dir: str) -> Output:
    keys = Object(value, store_dir)
    output = read_output(
        keys.take("path", text), keys.take("hashAlgo", text), keys.take("hash", text), store_dir
    )
    keys.end()
    return output


_derivation_outputs: Final = map_of(Form(_write_drv_output, _read_drv_output_kind))


def _read_derivation(value: Any, store_dir: str) -> BasicDerivation:
    keys = Object(value, store_dir)
    derivation = BasicDerivation(
        outputs=keys.take("outputs", _derivation_outputs),
        input_sources=keys.take("inputSrcs", set_of(store_path)),
        platform=keys.take("system", text),
        builder=keys.take("builder", text),
        args=keys.take("args", list_of(text)),
        env=keys.take("env", map_of(text)),
    )
    keys.end()
    return derivation


basic_derivation: Final[Form[BasicDerivation]] = Form(
    lambda value: {
        "outputs": _derivation_outputs.write(value.outputs),
        "inputSrcs": set_of(store_path).write(value.input_sources),
        "system": value.platform,
        "builder": value.builder,
        "args": list(value.args),
        "env": dict(value.env),
    },
    _read_derivation,
)
