"""Whether two programs said the same: answers compared message by message, with named exemptions.

Bodies are compared by size and digest, however they were cut.  What may differ between two runs of
the same conversation is never guessed: it is listed in `EXEMPTIONS`, each with its reason, and
applies only where it is asked for (`USUAL` unless told otherwise).
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from protocol.store.build_result import BuildResult
from protocol.store.path_info import PathInfo
from protocol.worker.events import Failed, Logged, Welcomed
from protocol.worker.messages import SetOptions
from protocol.worker.stderr import (
    NixError,
    Result,
    ResultType,
    StartActivity,
    StopActivity,
)


@dataclass(frozen=True, slots=True)
class Bulk:
    """A body, as far as it is compared."""

    size: int
    digest: str
    """SHA-256 of all its bytes, in base 16."""


Said = list[Any]
"""What one side said in answer to one request: events, and a `Bulk` for each body."""

Rule = Callable[[Said], Said]
"""Takes out of an answer what may differ."""


@dataclass(frozen=True, slots=True)
class Exemption:
    """Something that may differ, and why."""

    reason: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two conversations part."""

    exchange: int
    """Which request, from 1; 0 is the handshake."""
    request: str
    recorded: tuple[str, ...]
    heard: tuple[str, ...]


def _everywhere(change: Callable[[Any], Any], value: Any) -> Any:
    """`value` with `change` made to every record in it, from the innermost outwards."""
    match value:
        case tuple() if type(value) is tuple:
            return tuple(_everywhere(change, item) for item in value)
        case Mapping():
            return {key: _everywhere(change, item) for key, item in value.items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type | str):
            fields = {
                field.name: _everywhere(change, getattr(value, field.name))
                for field in dataclasses.fields(value)
                if field.init
            }
            return change(dataclasses.replace(value, **fields))
        case _:
            return value


def _times(said: Said) -> Said:
    def change(value: Any) -> Any:
        match value:
            case BuildResult():
                return dataclasses.replace(
                    value, start_time=0, stop_time=0, cpu_user=None, cpu_system=None
                )
            case PathInfo():
                return dataclasses.replace(value, registration_time=0)
            case _:
                return value

    return [_everywhere(change, event) for event in said]


def _ids(said: Said) -> Said:
    known: dict[int, int] = {0: 0}

    def number(activity: int) -> int:
        return known.setdefault(activity, len(known))

    def change(event: Any) -> Any:
        match event:
            case Logged(StartActivity() as started):
                return Logged(
                    dataclasses.replace(
                        started, id=number(started.id), parent=known.get(started.parent, -1)
                    )
                )
            case Logged(StopActivity(id=activity)):
                return Logged(StopActivity(known.get(activity, -1)))
            case Logged(Result() as result):
                return Logged(dataclasses.replace(result, id=known.get(result.id, -1)))
            case _:
                return event

    return [change(event) for event in said]


def _is_log(event: Any) -> bool:
    return isinstance(event, Logged)


def _log_order(said: Said) -> Said:
    logs = [event for event in said if _is_log(event)]
    # Without order, which activity a line belongs to is told by the line alone.
    bare = [Logged(_without_ids(event.message)) for event in logs]
    return [*sorted(bare, key=repr), *(event for event in said if not _is_log(event))]


def _without_ids(message: Any) -> Any:
    match message:
        case StartActivity():
            return dataclasses.replace(message, id=0, parent=0)
        case Result() | StopActivity():
            return dataclasses.replace(message, id=0)
        case _:
            return message


_COUNTS: Final = frozenset({ResultType.PROGRESS, ResultType.SET_EXPECTED})


def _progress(said: Said) -> Said:
    return [
        event
        for event in said
        if not (
            _is_log(event) and isinstance(event.message, Result) and event.message.type in _COUNTS
        )
    ]


def _logs(said: Said) -> Said:
    return [event for event in said if not _is_log(event)]


def _release(said: Said) -> Said:
    return [
        dataclasses.replace(event, daemon_version="") if isinstance(event, Welcomed) else event
        for event in said
    ]


def _version(said: Said) -> Said:
    return ["welcome" if isinstance(event, Welcomed) else event for event in said]


def _error_texts(said: Said) -> Said:
    def change(value: Any) -> Any:
        match value:
            case NixError():
                return NixError("")
            case BuildResult():
                return dataclasses.replace(value, error_message="")
            case Failed(error=error):
                return Failed(change(error))
            case _:
                return value

    return [_everywhere(change, event) for event in said]


def _settings(said: Said) -> Said:
    return [SetOptions() if isinstance(event, SetOptions) else event for event in said]


EXEMPTIONS: Final[Mapping[str, Exemption]] = {
    "times": Exemption("two runs happen at two times, and take what they take", _times),
    "ids": Exemption("a daemon numbers activities by its process id, from where it likes", _ids),
    "log-order": Exemption("what goes on in parallel is told in any order", _log_order),
    "progress": Exemption("how often counts are told depends on how fast they change", _progress),
    "release": Exemption("another release of Nix names itself otherwise", _release),
    "version": Exemption("another release agrees on another version and trust", _version),
    "logs": Exemption("what is logged at all differs between releases and settings", _logs),
    "error-texts": Exemption("releases word the same error differently", _error_texts),
    "settings": Exemption("a client's settings are its user's", _settings),
}
"""Name -> what may differ, and why.  They are applied in this order."""

USUAL: Final = frozenset({"times", "ids", "log-order", "progress"})
"""What differs between two runs of the same programs."""


def plain(said: Iterable[Any], exempt: Iterable[str] = USUAL) -> Said:
    """What is left of an answer to be compared.

    Raises:
        KeyError: an exemption that does not exist.
    """
    wanted = set(exempt)
    if unknown := wanted - set(EXEMPTIONS):
        raise KeyError(min(unknown))
    rest = list(said)
    for name, exemption in EXEMPTIONS.items():
        if name in wanted:
            rest = exemption.rule(rest)
    return rest


def same(recorded: Iterable[Any], heard: Iterable[Any], exempt: Iterable[str] = USUAL) -> bool:
    """Whether two answers are the same but for what is exempt."""
    return plain(recorded, exempt) == plain(heard, exempt)
