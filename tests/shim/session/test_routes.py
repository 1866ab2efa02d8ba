import pytest

from shim.session.routes import PEER, Route, Standing, route

NEVER_FOR_PEERS = (
    "AddBuildLog",
    "AddIndirectRoot",
    "AddPermRoot",
    "AddSignatures",
    "CollectGarbage",
    "FindRoots",
    "OptimiseStore",
    "RegisterDrvOutput",
    "VerifyStore",
)


@pytest.mark.parametrize("operation", NEVER_FOR_PEERS)
def test_a_peer_may_not_disturb_others(operation: str) -> None:
    assert route(operation, Standing.PEER) is Route.REFUSE


@pytest.mark.parametrize("operation", sorted(PEER))
def test_an_operator_is_refused_nothing(operation: str) -> None:
    assert route(operation, Standing.OPERATOR) in {Route.RELAY, Route.JUDGE}


def test_what_the_table_does_not_know_is_refused_to_peers() -> None:
    assert route("SubmitOutput", Standing.PEER) is Route.REFUSE


@pytest.mark.parametrize("standing", list(Standing))
def test_builds_are_judged_whoever_asks(standing: Standing) -> None:
    for operation in ("BuildDerivation", "BuildPaths", "BuildPathsWithResults"):
        assert route(operation, standing) is Route.JUDGE
