"""What becomes of a store path that a peer sends: imported, dropped or refused.  Moves no bytes.

We are a trusted user of the nix-daemon behind us, so it would believe whatever we pass on.  What a
peer says of a path is believed only where it proves itself:

| the path | `uploads = "accept"` | `uploads = "rederive"` |
|---|---|---|
| has a content address that leads to it | imported | imported |
| has one that leads elsewhere | refused | refused |
| is a derivation without one | refused | refused |
| is signed by a trusted key | imported | imported |
| none of these | imported | dropped, made anew from its derivation when asked for |

The nix-daemon compares NAR and content with hash and address (`LocalStore::addToStore`); that the
*path* follows from the address it asks of nobody whom it trusts.
"""

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from protocol.errors import ProtocolError
from protocol.store.addressing import content_path
from protocol.store.content_address import Method
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.signing import PublicKey, signers
from shim.config import NixStore, Uploads
from shim.errors import ExitCode, ShimError

DEFAULT_KEY: Final = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
"""What a nix-daemon trusts that is told nothing else (`Settings::trustedPublicKeys`)."""


class Fate(Enum):
    """What becomes of an upload that is not refused."""

    IMPORT = auto()
    DROP = auto()


class UploadRefused(ShimError):
    """What a peer says of a path cannot be true."""

    def __init__(self, path: StorePath, why: str) -> None:
        super().__init__(f"the upload of `{path}` is refused: {why}", code=ExitCode.DATA)


def judge(
    path: StorePath,
    info: PathInfo,
    unsigned: Uploads,
    keys: Iterable[PublicKey],
    store_dir: str,
) -> Fate:
    """What becomes of `path`.

    Args:
        path: what the peer sends.
        info: what it says of it.
        unsigned: the domain's rule for paths that prove nothing.
        keys: whose signatures the domain trusts.
        store_dir: where its paths lie.

    Raises:
        UploadRefused: the path does not follow from its content address, or it is a derivation
            and has none, so that it could stand under another derivation's path.
    """
    content = info.content_address
    if content is not None:
        if path.is_derivation and content.method is not Method.TEXT:
            raise UploadRefused(path, f"a derivation is a text, but it is addressed as `{content}`")
        try:
            follows = content_path(
                path.name,
                content,
                info.references - {path},
                refers_to_itself=path in info.references,
                store_dir=store_dir,
            )
        except ProtocolError as error:
            raise UploadRefused(path, str(error)) from error
        if follows != path:
            raise UploadRefused(path, f"its content address `{content}` leads to `{follows}`")
        return Fate.IMPORT
    if path.is_derivation:
        raise UploadRefused(path, "a derivation needs its content address")
    if unsigned is Uploads.ACCEPT or signers(path, info, keys):
        return Fate.IMPORT
    return Fate.DROP


def trusted_keys(store: NixStore, ours: Iterable[PublicKey]) -> tuple[PublicKey, ...]:
    """The keys that a domain's store trusts: those of its settings, and our own.

    Args:
        store: the serving store; of its `settings`, those that list keys count.
        ours: the public keys of this shim, which sign what it planted in any domain.

    Raises:
        BadKey: a setting lists what is no key.
    """
    listed = store.settings.get("trusted-public-keys", DEFAULT_KEY).split()
    listed += store.settings.get("extra-trusted-public-keys", "").split()
    return (*map(PublicKey.parse, listed), *ours)
