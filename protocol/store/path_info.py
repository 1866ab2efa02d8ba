"""What a store knows about a valid path.  Signs nothing: that is `protocol.store.signing`.

Checked against Nix's `UnkeyedValidPathInfo` and `ValidPathInfo::fingerprint`.
"""

from dataclasses import dataclass, field

from protocol.store.content_address import ContentAddress
from protocol.store.hash import Hash
from protocol.store.path import StorePath


@dataclass(frozen=True, slots=True, kw_only=True)
class PathInfo:
    """The metadata of one store object, without its path."""

    deriver: StorePath | None = None
    """The derivation it was built by."""
    nar_hash: Hash
    """SHA-256 of its NAR."""
    references: frozenset[StorePath] = frozenset()
    """The paths it refers to, its own included if it does."""
    registration_time: int = 0
    """Seconds since 1970, 0 where unknown."""
    nar_size: int = 0
    """Bytes of its NAR, 0 where unknown."""
    ultimate: bool = False
    """Whether this store built it itself, so that it needs no signature here."""
    signatures: frozenset[str] = field(default=frozenset())
    """`<key name>:<base 64>` each; old peers pass any text."""
    content_address: ContentAddress | None = None

    def fingerprint(self, path: StorePath) -> str:
        """The text that signatures sign.

        `1;<path>;sha256:<nix32 NAR hash>;<NAR size>;<references, ascending, comma between>`
        """
        references = ",".join(sorted(self.references))
        return f"1;{path};{self.nar_hash};{self.nar_size};{references}"
