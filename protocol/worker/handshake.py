"""What both sides say first, as values; who says what when is `worker.connection`'s.

| who | what | when |
|---|---|---|
| client | magic `0x6e697863`; since 2.23 its version in the same breath | always |
| server | magic `0x6478696f`, version | once it has read the magic |
| client | version | always; 2.23.0 to 2.23.4 send it a second time |
| client, server | set of features each | 1.38 |
| client | CPU affinity: 0, or a number and the CPU | 1.14 |
| client | 0, once "reserve space" | 1.11 |
| server | version of its Nix as a text | 1.33 |
| server | `Trust` | 1.35 |
| server | log messages and the last word, or an error | always |

Nix 2.3 really sends an affinity, over `ssh-ng` too; what 2.23 sends twice falls into that place.
Checked against Nix's `BasicServerConnection::handshake`, `postHandshake`, `processConnection`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.limits import MAX_HANDSHAKE
from protocol.version import Dialect, Number
from protocol.wire.codec import (
    Codec,
    enumeration,
    number,
    obsolete,
    preceded_by,
    set_of,
    text_up_to,
    via,
)
from protocol.wire.layout import layout, on
from protocol.wire.source import Source, Underrun
from protocol.worker.versions import minor

CLIENT_MAGIC: Final = 0x6E697863
SERVER_MAGIC: Final = 0x6478696F

FEATURES_SINCE: Final = minor(38)

_MAX_FEATURES: Final = 1024


class Trust(IntEnum):
    """What a server thinks of its client."""

    UNKNOWN = 0
    TRUSTED = 1
    NOT_TRUSTED = 2
    """Makes clients since 2.16 bring the graph of derivations and not a flat one."""


trust: Final = enumeration(Trust)

version: Final[Codec[Number]] = via(
    number(0xFFFF_FFFF), lambda word, _: Number.from_word(word), lambda value, _: value.word
)
features: Final = set_of(text_up_to(MAX_HANDSHAKE), _MAX_FEATURES)


def _affinity_get(source: Source, _: Dialect) -> None:
    state = source.resume()
    flag = source.u64() if state is None else state[0]
    if flag:
        try:
            source.u64()
        except Underrun:
            source.save((flag,))
            raise


affinity: Final[Codec[None]] = Codec(_affinity_get, obsolete().put)
"""Read and ignored: servers since 2.6 pin themselves to no CPU."""

preamble: Final[Codec[None]] = preceded_by(affinity, obsolete())
"""What a client says between version and operations."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself."""

    daemon_version: str = ""
    """Empty where it does not say."""
    trust: Trust = Trust.UNKNOWN


server_info: Final = layout(
    ServerInfo,
    daemon_version=on(text_up_to(MAX_HANDSHAKE), since=minor(33)),
    trust=on(trust, since=minor(35)),
)
