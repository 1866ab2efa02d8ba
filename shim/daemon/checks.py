"""What this machine must offer, looked at before the socket opens; each lack has its remedy."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from shim.config import DEFAULT_DOMAIN, Config, Domain, NixStore
from shim.daemon.nix.nixdaemon import WITHOUT_EMULATORS
from shim.errors import ExitCode, ShimError
from shim.systems import Systems

BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")


def this_system() -> str:
    """Nix's name of the system that this machine runs without an emulator."""
    return f"{platform.machine()}-linux"


def emulation_lack(nix_system: str, systems: Systems) -> str | None:
    """Why programs of `nix_system` cannot run here inside a build sandbox; None if they can.

    The F flag is what makes the kernel keep the emulator open, so that it is found from within a
    sandbox that does not hold it (Linux `Documentation/admin-guide/binfmt-misc.rst`).
    """
    if not (BINFMT / "register").exists():
        return f"binfmt_misc is not mounted: mount -t binfmt_misc none {BINFMT}"
    for name in systems[nix_system].binfmt_names:
        entry = BINFMT / name
        if entry.exists():
            lines = entry.read_text().splitlines()
            if "enabled" not in lines[:1]:
                return f"the binfmt_misc entry `{name}` is disabled: echo 1 > {entry}"
            flags = next((line for line in lines if line.startswith("flags:")), "")
            if "F" not in flags:
                return (
                    f"the binfmt_misc entry `{name}` lacks the F flag, so emulators are not found"
                    " inside sandboxes: install qemu-user-static, or"
                    " boot.binfmt.preferStaticEmulators"
                )
            return None
    return (
        f"no emulator is registered for {nix_system}: install qemu-user-static and binfmt-support,"
        f' or set boot.binfmt.emulatedSystems = [ "{nix_system}" ]'
    )


def plants_lack() -> str | None:
    """Why planted builds cannot run without emulators here; None if they can."""
    if shutil.which("setpriv") is None:
        return "`setpriv` is not installed: it is part of util-linux"
    done = subprocess.run(
        [*WITHOUT_EMULATORS, "test", "-e", str(BINFMT / "register")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if done.returncode == 0:
        return None
    return (
        "no user namespace with a binfmt_misc of its own can be made here"
        f" ({done.stderr.strip() or 'it did not appear'}); kernel {platform.release()},"
        " needed: Linux 6.7 and unprivileged user namespaces"
    )


def _started(domains: Mapping[str, Domain]) -> Iterator[tuple[str, NixStore]]:
    """The stores whose nix-daemons we start, with their keys in the configuration."""
    for name, domain in domains.items():
        prefix = "" if name == DEFAULT_DOMAIN else f"domains.{name}."
        for kind, store in (("serving", domain.serving), ("plant", domain.plant)):
            if store is not None and store.start:
                yield f"{prefix}{kind}", store


def check(config: Config, systems: Systems) -> dict[str, str | None]:
    """Look at everything `config` relies on.

    Returns:
        For each judged system, why it cannot be emulated (None: it can).

    Raises:
        ShimError: something without which the daemon is of no use.
    """
    domains = config.all_domains()
    for name, store in _started(domains):
        if shutil.which(store.program) is None:
            raise ShimError(
                f"{name}.program: `{store.program}` is not on PATH",
                hint="install Nix, or name its nix-daemon in the configuration",
                code=ExitCode.CONFIG,
            )
    if os.geteuid() != 0 and any(_started(domains)):
        raise ShimError(
            "nix-daemons with sandboxes are started by root only",
            hint="run as root, or give serving.socket and plant.socket with start = false",
            code=ExitCode.CONFIG,
        )
    plants_start = any(domain.plant and domain.plant.start for domain in domains.values())
    crosses = config.policy.cross or any(rule.cross for rule in config.rules)
    if crosses and plants_start and (lack := plants_lack()) is not None:
        raise ShimError(
            f"planted builds need a place without emulators: {lack}",
            hint="or set policy.cross = false, which leaves emulation",
            code=ExitCode.UNAVAILABLE,
        )
    lacks = {system: emulation_lack(system, systems) for system in config.systems}
    if not crosses:
        for system, found in lacks.items():
            if found is not None:
                raise ShimError(
                    f"{system} can be built neither way: policy.cross is off, and {found}",
                    code=ExitCode.UNAVAILABLE,
                )
    return lacks
