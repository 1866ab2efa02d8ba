"""The table of operations: what becomes of each when an operator asks, and when a peer does.

An operator (a local user that the configuration trusts) gets what the nix-daemon would give to a
trusted user.  A peer (a board) speaks through our trusted connection, so whatever a nix-daemon
would deny to an untrusted user has to be denied here (`nix::daemon::performOp`, the checks on
`trusted`), and so has what would let one board disturb the others.
"""

from enum import StrEnum
from typing import Final


class Route(StrEnum):
    """What becomes of an operation."""

    RELAY = "relay"
    """Passed to the serving nix-daemon, its answer passed back."""
    JUDGE = "judge"
    """Asks for builds: foreign derivations go to the planner, the rest is relayed."""
    UPLOAD = "upload"
    """Every path is judged before it is passed on (`shim.session.uploads`)."""
    DOWNLOAD = "download"
    """Relayed if the path is valid, and made in a way that the peer's policy admits."""
    OPTIONS = "options"
    """Relayed with what is honoured of it (`shim.session.settings`)."""
    ROOT = "root"
    """Relayed, up to a number for each connection."""
    REFUSE = "refuse"
    """Answered with an error; the connection goes on."""


class Standing(StrEnum):
    """Who is at the other end of a session."""

    OPERATOR = "operator"
    PEER = "peer"


OPERATOR: Final = {
    "BuildDerivation": Route.JUDGE,
    "BuildPaths": Route.JUDGE,
    "BuildPathsWithResults": Route.JUDGE,
    "EnsurePath": Route.JUDGE,
    "QueryMissing": Route.JUDGE,
}
"""Everything else an operator asks is relayed."""

PEER: Final = {
    "AddBuildLog": Route.REFUSE,
    "AddIndirectRoot": Route.REFUSE,
    "AddMultipleToStore": Route.UPLOAD,
    "AddPermRoot": Route.REFUSE,
    "AddSignatures": Route.REFUSE,
    "AddTempRoot": Route.ROOT,
    "AddTextToStore": Route.RELAY,
    "AddToStore": Route.RELAY,
    "AddToStoreNar": Route.UPLOAD,
    "BuildDerivation": Route.JUDGE,
    "BuildPaths": Route.JUDGE,
    "BuildPathsWithResults": Route.JUDGE,
    "CollectGarbage": Route.REFUSE,
    "EnsurePath": Route.JUDGE,
    "ExportPath": Route.DOWNLOAD,
    "FindRoots": Route.REFUSE,
    "HasSubstitutes": Route.RELAY,
    "ImportPaths": Route.REFUSE,
    "IsValidPath": Route.RELAY,
    "NarFromPath": Route.DOWNLOAD,
    "OptimiseStore": Route.REFUSE,
    "QueryAllValidPaths": Route.RELAY,
    "QueryDerivationOutputMap": Route.RELAY,
    "QueryDerivationOutputNames": Route.RELAY,
    "QueryDerivationOutputs": Route.RELAY,
    "QueryDeriver": Route.RELAY,
    "QueryMissing": Route.JUDGE,
    "QueryPathFromHashPart": Route.RELAY,
    "QueryPathHash": Route.RELAY,
    "QueryPathInfo": Route.RELAY,
    "QueryRealisation": Route.RELAY,
    "QueryReferences": Route.RELAY,
    "QueryReferrers": Route.RELAY,
    "QuerySubstitutablePathInfo": Route.RELAY,
    "QuerySubstitutablePathInfos": Route.RELAY,
    "QuerySubstitutablePaths": Route.RELAY,
    "QueryValidDerivers": Route.RELAY,
    "QueryValidPaths": Route.RELAY,
    "RegisterDrvOutput": Route.REFUSE,
    "SetOptions": Route.OPTIONS,
    "SyncWithGC": Route.RELAY,
    "VerifyStore": Route.REFUSE,
}
"""Every operation that a peer may name; one that is missing here is refused."""

WHY: Final = {
    "AddBuildLog": "logs are kept of what is built here",
    "AddIndirectRoot": "roots on this machine are its operator's",
    "AddPermRoot": "roots on this machine are its operator's",
    "AddSignatures": "signatures here say how a path was made here",
    "CollectGarbage": "garbage is collected by the operator of this machine",
    "FindRoots": "they name what others keep",
    "ImportPaths": "it would let paths in unlooked at; use a client of Nix 2.0 or later",
    "OptimiseStore": "it is done by the operator of this machine",
    "RegisterDrvOutput": "where an output came out is noted for what is built here",
    "VerifyStore": "it is done by the operator of this machine",
}
"""What a refused peer is told, by operation."""

MAX_ROOTS: Final = 100_000
"""Temporary roots of one connection of a peer.  The nix-daemon writes each into a file, whether the
path exists or not; an honest client has one for each path of the closure it copies."""


def route(operation: str, standing: Standing, *, judged: bool = True) -> Route:
    """What becomes of `operation` (its name in the registry) for that kind of client.

    Args:
        operation: its name in the registry.
        standing: who asks.
        judged: whether foreign builds of operators are judged too (`judge-operators`).
    """
    match standing:
        case Standing.OPERATOR:
            return OPERATOR.get(operation, Route.RELAY) if judged else Route.RELAY
        case Standing.PEER:
            return PEER.get(operation, Route.REFUSE)


def refusal(operation: str) -> str:
    """What a peer is told whose operation is refused."""
    return f"{operation} is not for boards: {WHY.get(operation, 'it is not known here')}"
