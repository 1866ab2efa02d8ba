"""Placeholders: texts that stand for paths which are not known yet.  Replaces none of them.

Each is a slash and 52 base-32 digits of a SHA-256 of:

| of | hashed text |
|---|---|
| an own output | `nix-output:<output>` |
| an input's output | `nix-upstream-output:<digest of the .drv>:<name of the output's path>` |
| an output of that output | `nix-computed-output:<folded digest of that placeholder>:<output>` |

Checked against Nix's `hashPlaceholder` and `DownstreamPlaceholder`.
"""

from protocol.store import base32
from protocol.store.derivation import output_path_name
from protocol.store.hash import Hash, compress
from protocol.store.path import DERIVATION_SUFFIX, StorePath


def standard(output: str) -> str:
    """Stands for the derivation's own output, as `builtins.placeholder` gives it."""
    return _placeholder(f"nix-output:{output}")


def upstream(derivation: StorePath, output: str) -> str:
    """Stands for an output of a floating input derivation."""
    name = output_path_name(derivation.name.removesuffix(DERIVATION_SUFFIX), output)
    return _placeholder(f"nix-upstream-output:{derivation.digest}:{name}")


def computed(placeholder: str, output: str) -> str:
    """Stands for an output of what another placeholder, upstream or computed, stands for."""
    folded = compress(base32.decode(placeholder.removeprefix("/")))
    return _placeholder(f"nix-computed-output:{base32.encode(folded)}:{output}")


def _placeholder(text: str) -> str:
    return f"/{Hash.of(text.encode()).nix32()}"
