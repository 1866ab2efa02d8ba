"""The exec lines that real clients send, of each version at hand, are understood."""

from pathlib import Path

import pytest

from shim.execline import Accepted, parse
from shim.preamble import Speaks
from tests.live.world import Board

WORKER = Accepted(Speaks.WORKER)
SERVE = Accepted(Speaks.SERVE, ("--write",))

SSH = """\
#!/bin/sh
case " $* " in *" -O "*) exit 1;; esac
# As ssh does: what follows the host and the options is joined with blanks.
while [ $# -gt 0 ]; do
  case $1 in
    --) shift; break;;
    -p|-i|-S|-o) shift 2;;
    -*|root@*) shift;;
    *) break;;
  esac
done
printf '%s' "$*" > {line}
exit 1
"""

STORES = [
    ("ssh-ng://root@far", WORKER),
    ("ssh://root@far", SERVE),
    ("ssh-ng://root@far?remote-store=local%3Froot%3D/mnt%26require-sigs%3Dfalse", WORKER),
    ("ssh://root@far?remote-store=unix:///run/a%3Froot%3D/b", SERVE),
    ("ssh-ng://root@far?remote-program=/run/current-system/sw/bin/nix-daemon", WORKER),
    ("ssh-ng://root@far?remote-program=nix%20daemon", WORKER),
    ("ssh-ng://root@far?remote-program=sudo%20-n%20nix-daemon", WORKER),
    ("ssh://root@far?remote-program=/opt/nix/bin/nix-store&compress=true", SERVE),
    ("ssh-ng://root@far?remote-program=nix-shim%20stdio", WORKER),
    ("ssh://root@far?remote-program=nix-shim%20stdio", SERVE),
]


@pytest.mark.parametrize("suite", [None, "trixie", pytest.param("sid", marks=pytest.mark.long)])
def test_what_clients_ask_for_is_understood(suite: str | None, tmp_path: Path) -> None:
    line = tmp_path / "line"
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH.format(line=line))
    ssh.chmod(0o755)
    board = Board(tmp_path, suite=suite)
    path = f"PATH={tmp_path}:/usr/local/bin:/usr/bin:/bin"
    for url, answer in STORES:
        line.unlink(missing_ok=True)
        board.nix("env", path, "nix", "store", "ping", "--store", url, check=False)
        assert parse(line.read_text()) == answer, (url, line.read_text())
