"""Real parts for live tests and the demo: Nix programs, stores, a board, and a running shim.

Nothing here pretends: builds run in Nix's sandbox, boards are chroot stores of their own, and the
shim is a separate process.  What the machine lacks is said by `lacks()`, never installed from here
(`make setup` does that, visibly).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = Path(os.environ.get("NIX_SHIM_CACHE", ROOT / ".cache"))
MINIPKGS: Final = ROOT / "tests" / "minipkgs"
BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
SHIM: Final = Path(sys.executable).parent / "nix-shim"

NIX_CONFIG: Final = """\
sandbox = true
sandbox-fallback = false
build-users-group =
substituters =
extra-platforms = aarch64-linux armv7l-linux riscv64-linux
experimental-features = nix-command
"""
"""How every Nix program of the tests is configured; /etc/nix stays as it is."""

CROSS: Final = "pkgsCross.aarch64-multiplatform"


def lacks() -> str | None:
    """Why live tests cannot run here; None when they can."""
    if os.geteuid() != 0:
        return "live tests need root (nix-daemon's sandbox, user namespaces)"
    for program in ("nix", "nix-daemon", "nix-store", "setpriv", "unshare"):
        if shutil.which(program) is None:
            return f"`{program}` is not installed: make setup"
    if not (BINFMT / "qemu-aarch64").exists():
        return "no aarch64 emulator is registered: make setup"
    if not (CACHE / "minipkgs" / "index.json").exists():
        return "minipkgs' packages are not downloaded: scripts/fetch-minipkgs"
    return None


def environment(**extra: str) -> dict[str, str]:
    """The environment of a Nix program: ours, with the tests' own settings."""
    return {**os.environ, "NIX_CONFIG": NIX_CONFIG, **extra}


def run(
    arguments: Sequence[str | Path],
    *,
    check: bool = True,
    timeout: float = 1200,
    environ: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program, its output kept; a failure shows all of it."""
    done = subprocess.run(
        [str(each) for each in arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        env=dict(environ or environment()),
    )
    if check and done.returncode != 0:
        words = " ".join(map(str, arguments))
        raise AssertionError(f"`{words}` -> {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def derivation(attribute: str) -> str:
    """The .drv of a minipkgs attribute, instantiated in the host's store."""
    return run(["nix-instantiate", MINIPKGS, "-A", attribute]).stdout.strip().partition("!")[0]


def outputs(drv: str) -> dict[str, str]:
    """Output name -> path of a derivation in the host's store."""
    shown = json.loads(run(["nix", "show-derivation", drv]).stdout)
    return {name: each["path"] for name, each in shown[drv]["outputs"].items()}


def realise(*paths: str) -> list[str]:
    """Build or fetch into the host's store."""
    return run(["nix-store", "--realise", *paths]).stdout.split()


def inputs(drv: str) -> list[str]:
    """What a board must have before it can ask a builder for `drv`: its inputs, realised here."""
    shown = json.loads(run(["nix", "show-derivation", drv]).stdout)[drv]
    wanted = [
        f"{each}!{','.join(names)}" for each, names in sorted(shown["inputDrvs"].items())
    ]
    return [*(realise(*wanted) if wanted else []), *shown["inputSrcs"]]
