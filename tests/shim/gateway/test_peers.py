from pathlib import Path

import asyncssh
import pytest

from shim import config as configuration
from shim.errors import ShimError
from shim.gateway import peers


def line(kind: str = "ssh-ed25519", **arguments: int) -> str:
    key = asyncssh.generate_private_key(kind, comment="root@attic", **arguments)
    return key.export_public_key().decode().strip()


ONE, TWO = line(), line()


def read(text: str) -> dict[str, int]:
    """Peer -> how many keys are its own."""
    owners = list(peers.read(configuration.parse('[serving]\nroot = "/s"\n' + text)).values())
    return {name: owners.count(name) for name in owners}


def test_a_peer_may_have_several_keys_from_the_file_and_beside_it(tmp_path: Path) -> None:
    keys = tmp_path / "authorized_keys"
    keys.write_text(f"# boards\n\n{TWO}\n  {line('ecdsa-sha2-nistp256')}\n")
    assert read(
        f'[peers.attic]\nkeys = ["{ONE}"]\nkey-files = ["{keys}"]\n[peers.cellar]\n'
        f'keys = ["{line()}"]\n'
    ) == {"attic": 3, "cellar": 1}


@pytest.mark.parametrize(
    "options",
    [
        "restrict ",
        'command="nix-shim stdio --peer attic",restrict ',
        r'restrict,command="say \"a, b\"",no-pty ',
        "no-port-forwarding,no-X11-forwarding,no-agent-forwarding,no-user-rc ",
    ],
)
def test_options_that_ask_for_less_than_we_give_are_taken(options: str) -> None:
    assert peers.public_data(options + ONE) == peers.public_data(ONE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('from="10.0.0.*" ' + ONE, "`from` is not supported"),
        ('restrict,expiry-time="20300101" ' + ONE, "`expiry-time` is not supported"),
        ("cert-authority " + ONE, "`cert-authority` is not supported"),
        ("permitopen " + ONE, "`permitopen` is not supported"),
        ("ssh-dss AAAAB3NzaC1kc3MAAACB", "`ssh-dss` is no type of key that is taken"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "is no type of key that is taken"),
        ("ssh-ed25519 AAAA", "not a public key"),
        ("ssh-ed25519", "not a public key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "is no type of key that is taken"),
        (line("ssh-rsa", key_size=1024), "1024 bits"),
        ("", "`` is no type"),
    ],
)
def test_other_keys_and_options_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")):
        peers.public_data(text)


def test_every_mistake_is_reported_with_its_place(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{ONE}\n\nssh-dss AAAA\n")
    with pytest.raises(ShimError) as caught:
        read(
            f'[peers.attic]\nkeys = ["{ONE}", "junk"]\n'
            f'[peers.cellar]\nkey-files = ["{keys}", "/none"]\n'
        )
    report = str(caught.value)
    assert "peers.attic.keys: `junk`" in report
    assert f"{keys}:1: this key is peers.attic's already" in report
    assert f"{keys}:3: `ssh-dss`" in report
    assert "peers.cellar.key-files: cannot read `/none`" in report


def test_nobody_is_a_peer_by_default() -> None:
    assert read("") == {}
