"""How store paths follow from contents and derivations.  Hashes digests, never contents.

Every path is made from a fingerprint `<type>:sha256:<hex digest>:<store directory>:<name>`: its
SHA-256, folded to 20 bytes, in base 32.

| object | type | digest |
|---|---|---|
| text | `text` and `:<path>` per reference | of the contents |
| NAR hashed with sha256 | `source`, `:<path>` per reference, `:self` | of the NAR |
| any other content address | `output:out` | of `fixed:out:<method><algorithm>:<hex digest>:` |
| input-addressed output | `output:<output>` | the derivation's hash modulo |

References ascend.  Checked against Nix's `StoreDirConfig::makeStorePath`, `makeFixedOutputPath`,
`makeTextPath`, `makeOutputPath`.
"""

from collections.abc import Iterable

from protocol.errors import LocalProtocolError
from protocol.store.base32 import encode
from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import output_path_name
from protocol.store.hash import Hash, HashAlgorithm, compress
from protocol.store.path import STORE_DIR, StorePath, check_name


def make_store_path(kind: str, digest: Hash, name: str, store_dir: str = STORE_DIR) -> StorePath:
    """The path of an object of some type and digest.

    Args:
        kind: the type, as in the table above.
        digest: a SHA-256.
        name: the name part of the path.
        store_dir: where the path lies.

    Raises:
        BadStorePath: the name is not valid.
    """
    check_name(name)
    fingerprint = f"{kind}:sha256:{digest.base16()}:{store_dir}:{name}"
    folded = compress(Hash.of(fingerprint.encode()).digest)
    return StorePath(f"{store_dir}/{encode(folded)}-{name}")


def output_path(
    derivation_name: str, output: str, digest: Hash, store_dir: str = STORE_DIR
) -> StorePath:
    """The path of an input-addressed output.

    Args:
        derivation_name: without `.drv`.
        output: the output's name.
        digest: the masked hash modulo.
        store_dir: where the path lies.

    Raises:
        BadStorePath: the names make no valid name of a path.
    """
    name = output_path_name(derivation_name, output)
    return make_store_path(f"output:{output}", digest, name, store_dir)


def text_path(
    name: str, contents: bytes, references: Iterable[StorePath], store_dir: str = STORE_DIR
) -> StorePath:
    """The path of a text file, as `builtins.toFile` and `.drv` files have it.

    Raises:
        BadStorePath: the name is not valid.
    """
    content = ContentAddress(Method.TEXT, Hash.of(contents))
    return content_path(name, content, references, store_dir=store_dir)


def content_path(
    name: str,
    content: ContentAddress,
    references: Iterable[StorePath] = (),
    *,
    refers_to_itself: bool = False,
    store_dir: str = STORE_DIR,
) -> StorePath:
    """The path of an object with a content address.

    Args:
        name: the name part of the path.
        content: how it was hashed, and to what; with its own digest masked where it refers to
            itself (`protocol.store.masked_hash`).
        references: other paths it refers to.
        refers_to_itself: whether its own path is a reference too.
        store_dir: where the path lies.

    Raises:
        BadStorePath: the name is not valid.
        LocalProtocolError: references where this kind of content address has none.
    """
    others = "".join(f":{path}" for path in sorted(references))
    by_nar = content.method is Method.NAR and content.hash.algorithm is HashAlgorithm.SHA256
    if refers_to_itself and not by_nar:
        raise LocalProtocolError(f"an object addressed by `{content}` cannot refer to itself")
    if content.method is Method.TEXT:
        return make_store_path(f"text{others}", content.hash, name, store_dir)
    if by_nar:
        itself = ":self" if refers_to_itself else ""
        return make_store_path(f"source{others}{itself}", content.hash, name, store_dir)
    if others:
        raise LocalProtocolError(f"an object addressed by `{content}` cannot have references")
    inner = f"fixed:out:{content.method.prefix}{content.hash.algorithm}:{content.hash.base16()}:"
    return make_store_path("output:out", Hash.of(inner.encode()), name, store_dir)
