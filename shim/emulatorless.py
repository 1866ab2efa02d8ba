"""`python -m shim.emulatorless COMMAND...`: run a command where no foreign program can be executed.

A user namespace may have a binfmt_misc of its own since Linux 6.7; an empty one is mounted over
`/proc/sys/fs/binfmt_misc`, so that executing a program of another machine fails with "Exec format
error" whatever is registered outside.  All users and groups are mapped to themselves: nix-daemon
drops supplementary groups before a build, which the kernel allows only where a privileged process
outside wrote the maps.  The command gets SIGTERM when the process that started it dies; that is
arranged last because entering a user namespace undoes it.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final, NoReturn

BINFMT: Final = "/proc/sys/fs/binfmt_misc"

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
PR_SET_PDEATHSIG: Final = 1
EVERYBODY: Final = "0 0 4294967295\n"
"""Each id inside is the same id outside (user_namespaces(7))."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Impossible(OSError):
    """The kernel refuses a step; the message names it."""


def _call(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise Impossible(number, f"{what}: {os.strerror(number)}")


def _write_maps(process: int) -> None:
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/{process}/{kind}").write_text(EVERYBODY, encoding="ascii")


def enter() -> None:
    """Move this process to where no emulator is; it must have one thread only.

    Raises:
        Impossible: the kernel is older than 6.7, or we lack privileges.
    """
    unshared, ready = os.pipe()
    helper = os.fork()  # stays outside, where it may write our maps
    if helper == 0:
        os.close(ready)
        try:
            if os.read(unshared, 1):
                _write_maps(os.getppid())
        except OSError as error:
            os.write(2, f"cannot map users: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(unshared)
    try:
        _call("unshare", _libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
        os.write(ready, b"!")
    finally:
        os.close(ready)
        _, status = os.waitpid(helper, 0)
    if status != 0:
        raise Impossible(0, "the users of the new namespace could not be mapped")
    _call(
        f"mounting an empty binfmt_misc over {BINFMT}",
        _libc.mount(b"none", BINFMT.encode(), b"binfmt_misc", 0, None),
    )
    _call("prctl", _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM))


def main(command: list[str]) -> NoReturn:
    """Enter, and become `command`."""
    starter = os.getppid()
    try:
        enter()
        if os.getppid() != starter:
            sys.exit("emulatorless: whoever started this is gone")
        os.execvp(command[0], command)  # noqa: S606 - a list of words, no shell
    except OSError as error:
        sys.exit(f"emulatorless: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
