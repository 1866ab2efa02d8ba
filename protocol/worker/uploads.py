"""Requests that bring data into a store, most of them with a body."""

from dataclasses import dataclass
from typing import Final, Self

from protocol.common import base_name, path_set, signatures, store_path
from protocol.errors import LocalProtocolError
from protocol.store.content_address import Method, parse_method, render_method
from protocol.store.hash import HashAlgorithm
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import ADD_TO_STORE_SCANNING, Dialect
from protocol.wire.codec import (
    Codec,
    boolean,
    choice,
    followed_by,
    nothing,
    obsolete,
    sequence,
    text,
    via,
)
from protocol.wire.layout import wire
from protocol.wire.operation import Body, Request, operation
from protocol.worker.results import Added, ValidPathInfo, added, done, path_info, valid_path_info
from protocol.worker.versions import minor


@dataclass(frozen=True, slots=True)
class Addressing:
    """How a content address is to be made."""

    method: Method
    algorithm: HashAlgorithm = HashAlgorithm.SHA256

    @property
    def is_flat(self) -> bool:
        """Whether the content is one file's bytes, not a NAR."""
        return self.method in {Method.TEXT, Method.FLAT}


_DEFAULT: Final = Addressing(Method.NAR)


def _read_once(value: tuple[bool, tuple[bool, str]], _: Dialect) -> Addressing:
    fixed, (recursive, algorithm) = value
    if not fixed:
        return _DEFAULT  # as servers have it: the other two fields are not looked at
    return Addressing(Method.NAR if recursive else Method.FLAT, HashAlgorithm.named(algorithm))


def _write_once(value: Addressing, dialect: Dialect) -> tuple[bool, tuple[bool, str]]:
    if value.method not in {Method.FLAT, Method.NAR}:
        raise LocalProtocolError(
            f"{dialect} has no content address by {value.method} in `AddToStore`:"
            " use `AddTextToStore` for texts"
        )
    return value != _DEFAULT, (value.method is Method.NAR, value.algorithm.value)


_addressing_now: Final = via(
    text,
    lambda value, _: Addressing(*parse_method(value)),
    lambda value, _: render_method(value.method, value.algorithm),
)
_addressing_once: Final = via(sequence(boolean, sequence(boolean, text)), _read_once, _write_once)
addressing: Final[Codec[Addressing]] = choice(
    lambda dialect: _addressing_now if dialect.number >= minor(25) else _addressing_once
)


@operation(7, reply=added, body=Body.CONTENTS)
class AddToStore(Request[Added]):
    """Add a tree or a file under the path that its content gives it.

    The body is what is hashed: a NAR, or the bytes of one file where `addressing` is flat.
    """

    name: str = wire(text)
    addressing: Addressing = wire(addressing)
    references: frozenset[StorePath] = wire(path_set, since=minor(25), default=frozenset())
    repair: bool = wire(boolean, since=minor(25), default=False)

    @classmethod
    def text(cls, name: str, references: frozenset[StorePath] = frozenset()) -> Self:
        """Add a text, such as a `.drv` file; the body is its bytes."""
        return cls(name, Addressing(Method.TEXT), references)


@operation(8, reply=store_path)
class AddTextToStore(Request[StorePath]):
    """Add a text.  Obsolete since 1.25, answered."""

    name: str = wire(text)
    contents: str = wire(text)
    references: frozenset[StorePath] = wire(path_set, default=frozenset())


@operation(27, reply=path_set, body=Body.EXPORT)
class ImportPaths(Request[frozenset[StorePath]]):
    """Add what an export stream holds.  Gone from servers since 2.32."""


@operation(16, reply=done, reply_body=Body.EXPORT)
class ExportPath(Request[None]):
    """Send the path as a part of an export stream.  Gone from servers since 2.32."""

    path: StorePath = wire(followed_by(store_path, obsolete()))


@operation(37, reply=done, since=minor(16))
class AddSignatures(Request[None]):
    """Add signatures to a path."""

    path: StorePath = wire(store_path)
    signatures: frozenset[str] = wire(signatures)


@operation(39, reply=nothing, body=Body.NAR, since=minor(17))
class AddToStoreNar(Request[None]):
    """Add one path; the body is its NAR."""

    path: StorePath = wire(store_path)
    info: PathInfo = wire(path_info)
    repair: bool = wire(boolean, default=False)
    dont_check_signatures: bool = wire(boolean, default=False)
    """Silently false where the client is not trusted."""


@operation(44, reply=nothing, body=Body.STREAM, since=minor(32))
class AddMultipleToStore(Request[None]):
    """Add paths, dependencies first; the body is `protocol.worker.multiple`'s."""

    repair: bool = wire(boolean, default=False)
    dont_check_signatures: bool = wire(boolean, default=False)
    """Silently false where the client is not trusted."""


@operation(45, reply=done, body=Body.STREAM, since=minor(32))
class AddBuildLog(Request[None]):
    """Keep a build's log; the body is its text.  Since 2.6.0, which did not change the number."""

    path: StorePath = wire(base_name)


@operation(1001, reply=valid_path_info, body=Body.CONTENTS, needs=ADD_TO_STORE_SCANNING)
class AddToStoreScanning(Request[ValidPathInfo]):
    """From inside a build: add contents whose references are to be found (2.36)."""

    name: str = wire(text)
    addressing: Addressing = wire(addressing)
