"""Which settings of a peer are honoured.  Everything else it sets is left as this machine has it.

A nix-daemon applies whatever a trusted user sets, hooks that it runs as root included, and to it we
are one.  So nothing of a peer's `SetOptions` is passed on that is not listed here.  Clients over
`ssh-ng` never send any; those are local users, and their Nix sends all that is in their nix.conf.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from protocol.worker.messages import SetOptions

FIELDS: Final = (
    "keep_going",
    "try_fallback",
    "verbosity",
    "max_silent_time",
    "verbose_build",
    "use_substitutes",
)
"""Of the fixed fields.  Not among them: `keep_failed` (it leaves build folders on this machine,
where peers cannot see them), `max_build_jobs` and `build_cores` (the host's business)."""

OVERRIDES: Final = ("timeout", "build-timeout", "max-silent-time", "connect-timeout", "log-lines")
"""Of the settings by name; all are numbers."""


def honoured(
    asked: SetOptions, base: SetOptions, fields: tuple[str, ...] = FIELDS
) -> tuple[SetOptions, tuple[str, ...]]:
    """What a peer's settings come to.

    Args:
        asked: what the peer sent.
        base: the settings of a connection of ours.
        fields: those of the fixed fields that count.

    Returns:
        The settings to pass on, and the names of the overrides that are ignored.
    """
    taken = {
        name: value
        for name, value in asked.overrides.items()
        if name in OVERRIDES and value.isascii() and value.isdigit()
    }
    # `builders` is a promise of ours: no build leaves this machine again, whatever it is set to.
    ignored = asked.overrides.keys() - taken.keys() - base.overrides.keys()
    changes: dict[str, Any] = {name: getattr(asked, name) for name in fields}
    overrides: Mapping[str, str] = {**taken, **base.overrides}
    return replace(base, **changes, overrides=overrides), tuple(sorted(ignored))
