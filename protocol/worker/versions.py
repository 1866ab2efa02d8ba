"""Which versions of the worker protocol are spoken, and what the numbers stand for.

| Nix | number |
|---|---|
| 2.1 to 2.3 | 1.21 |
| 2.4 to 2.6 | 1.32 |
| 2.7 | 1.33 |
| 2.8 to 2.14 | 1.34 |
| 2.15 to 2.19 | 1.35 |
| 2.20 to 2.23 | 1.37 |
| 2.24 and later | 1.38, and features since 2.35 |

Checked against `PROTOCOL_VERSION` and `WorkerProto::latest` of these releases.
"""

from typing import Final

from protocol.version import DELETE_DEAD_REFERRERS, PATH_NOT_HASH, Number

OLDEST: Final = Number(1, 21)
"""Nix 2.3: the oldest that boards run."""

NEWEST: Final = Number(1, 38)
"""Frozen upstream."""

FEATURES: Final = frozenset({PATH_NOT_HASH, DELETE_DEAD_REFERRERS})
"""What an ordinary daemon of Nix 2.35 and 2.36 offers, all of it understood here.  Offering none is
what keeps such peers on the layouts of 2.24 to 2.34."""


def minor(number: int) -> Number:
    """The version `1.<number>`."""
    return Number(1, number)
