"""The difference run for peers: beside a nix-daemon's user who is not trusted.

The commands are those of `difference.sh`.  Where a peer gets something else than such a user, the
section is listed in `REFUSED` or `OTHERWISE`, with the reason; docs/trust.md tells operators.
"""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.live.sidebyside import NOBODY, SOCKET, SSH, Side, both
from tests.live.test_difference import COMMANDS, DELEGATE, combinations, folder, needs

__all__ = ["folder"]

REFUSED: Final = {
    "content-addressed, up": "RegisterDrvOutput",
    "sign, with a key that is new each time": "AddSignatures",
    "roots": "FindRoots",
    "live and dead": "CollectGarbage",
    "optimise": "OptimiseStore",
    "damage and repair": "VerifyStore",
    "delete": "CollectGarbage",
    "collect garbage": "CollectGarbage",
}
"""Section -> the operation that a peer is refused: these are for this machine's operator."""

OTHERWISE: Final = {
    "export and import": "boards of one domain believe each other: what is not signed is taken in",
    "what is left": "no garbage was collected",
}
"""Section -> why a peer gets something else, that is no refusal."""

UNWANTED: Final = re.compile(
    r"^(nix-shim: settings that boards may not change are ignored: .*"
    r"|warning: ignoring the client-specified setting .*not a trusted user.*)\n",
    re.MULTILINE,
)
"""Settings that are not honoured: we name them in one line, nix-daemons since 2.22 in one each."""

TRUST: Final = re.compile(r'"trusted":(false|0),|^Trusted: 0\n', re.MULTILINE)
"""A peer hears it from us; of daemons below 2.15 clients hear nothing."""


def rootless(script: str) -> str:
    """The script with `nix-build`, which makes a root whatever it is told, in other words."""
    return re.sub(
        r"nix-build \$THINGS ((?:-A \w+ )+)--no-out-link",
        r"nix-store --realise $(nix-instantiate $THINGS \1)",
        script,
    )


def heard(side: Side, script: str, remote: str) -> tuple[int, str, str]:
    """What a peer is told, or a user who is not trusted."""
    code, out, err = side.run(script, user=NOBODY, remote=remote)
    return code, TRUST.sub("", out), TRUST.sub("", UNWANTED.sub("", err))


@pytest.mark.parametrize(
    "remote",
    [pytest.param(SOCKET, id="socket"), pytest.param(SSH, id="ssh-ng", marks=pytest.mark.long)],
)
@pytest.mark.parametrize(("client", "daemon"), list(combinations(None)))
def test_a_peer_gets_what_a_user_gets_who_is_not_trusted(
    client: str | None, daemon: str | None, remote: str, folder: Path
) -> None:
    needs(client)
    needs(daemon)
    with both(folder, client, daemon) as (direct, relayed):
        for name, script in COMMANDS.items():
            told, here = (heard(side, rootless(script), remote) for side in (direct, relayed))
            if name in REFUSED:
                assert f"{REFUSED[name]} is not for boards" in here[2], name
            elif name not in OTHERWISE:
                assert here == told, name


@pytest.mark.parametrize(("client", "daemon"), list(combinations("trixie")))
def test_a_builder_that_does_not_trust_its_board_is_the_same(
    client: str | None, daemon: str | None, folder: Path
) -> None:
    """What needs no upload that has to be believed.

    Who brings no graph (clients up to 2.15, and all that are not told that they are not trusted) is
    refused by a nix-daemon; a domain that takes uploads takes flat derivations too.
    """
    needs(client)
    needs(daemon)
    script = DELEGATE + "for name in input fixed failing; do delegate $name; echo $?; done"
    with both(folder, client, daemon) as (direct, relayed):
        told, here = (heard(side, script, SSH) for side in (direct, relayed))
        assert [line[-5:] for line in here[1].split()] == ["input", "0", "fixed", "0", "1"]
        if client is None or daemon is None:
            assert "you are not privileged to build input-addressed derivations" in told[2]
        else:
            assert here == told
