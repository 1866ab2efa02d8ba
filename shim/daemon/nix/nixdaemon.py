"""The nix-daemons that we start: how each is launched, when it is ready, and that it stays up.

Two kinds.  The serving store's daemon may run emulators and use substituters.  The plant store's
has neither emulators nor keys nor hooks: it is started by `shim.emulatorless`, so a foreign program
that a planted build starts fails with "Exec format error" instead of running unseen.  Both follow
us into death by PR_SET_PDEATHSIG.
"""

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from typing import Final
from urllib.parse import quote

import structlog
import trio

from protocol.store.path import STORE_DIR
from shim.config import DEFAULT_DOMAIN, Config, Domain, NixStore
from shim.errors import ExitCode, ShimError

log = structlog.get_logger()

DEATH: Final = ("setpriv", "--pdeathsig", "TERM")
WITHOUT_EMULATORS: Final = (sys.executable, "-m", "shim.emulatorless")
"""Runs its arguments where no foreign program can be executed."""

READY_POLL: Final = 0.05
"""Seconds between looks at the socket of a daemon that starts: nix-daemon announces nothing."""

TAIL: Final = 20
"""Lines of a daemon's own output kept for the message that says why it died."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One nix-daemon to run: a name for messages, where it listens and how it is started."""

    name: str
    socket: Path
    command: tuple[str, ...]
    environment: Mapping[str, str]


def local_uri(root: Path, store_dir: str, **parameters: str) -> str:
    """A store URI for the local store below `root` (`nix help-stores`, local store).

    Nix puts the files to `ROOT/nix/store` whatever the store directory is, unless it is told.
    """
    options = {"root": str(root)} if root != Path("/") else {}
    if store_dir != STORE_DIR:
        options |= {"store": store_dir, "real": str(root / store_dir.lstrip("/"))}
    options |= parameters
    query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in options.items())
    return f"local?{query}" if query else "local"


def nix_config(settings: Mapping[str, str]) -> str:
    """The settings as NIX_CONFIG text."""
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


COMMON: Final = {
    "sandbox": "true",
    "sandbox-fallback": "false",
    "build-users-group": "",
    "builders": "",
    "keep-derivations": "false",
}
"""Settings of every nix-daemon of ours.

`build-users-group` is empty so that no users have to be made; the sandbox separates builds.
`builders` is empty so that no build leaves this machine again.
"""


def _environment(
    config: Config, store: NixStore, where: Path, settings: Mapping[str, str]
) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
    return kept | {
        "NIX_REMOTE": local_uri(store.root, config.store_dir),
        "NIX_DAEMON_SOCKET_PATH": str(where),
        "NIX_CONFIG": nix_config({**COMMON, **settings, **store.settings}),
        "HOME": str(where.parent),
        "NIX_CONF_DIR": str(where.parent),
    }


def serving_launch(config: Config, name: str, domain: Domain) -> Launch:
    """The daemon of the store that a domain's boards see: emulates, substitutes as it is told."""
    where = domain.serving.socket or _folder(config, name) / "serving" / "socket"
    settings = {"extra-platforms": " ".join(config.systems), "substituters": ""}
    return Launch(
        _called("serving nix-daemon", name),
        where,
        (*DEATH, domain.serving.program),
        _environment(config, domain.serving, where, settings),
    )


def plant_launch(config: Config, name: str, domain: Domain) -> Launch | None:
    """The daemon of a domain's plant store, if it has one: no emulators, no keys.

    It substitutes from the stores beside it.
    """
    if domain.plant is None:
        return None
    where = domain.plant.socket or _folder(config, name) / "plant" / "socket"
    roots = dict.fromkeys((domain.serving.root, config.evaluation.root))
    settings = {
        "substituters": " ".join(
            local_uri(root, config.store_dir, trusted="true") for root in roots
        ),
        "require-sigs": "false",  # what lies in the stores beside it was accepted there
        "allowed-users": "root",  # and nobody else may add what needs no signature
        "fallback": "true",
        "keep-outputs": "false",
    }
    return Launch(
        _called("plant nix-daemon", name),
        where,
        (*WITHOUT_EMULATORS, domain.plant.program),
        _environment(config, domain.plant, where, settings),
    )


def _folder(config: Config, name: str) -> Path:
    """Where sockets of a domain's daemons lie."""
    state = config.state_directory
    return state if name == DEFAULT_DOMAIN else state / "domains" / name


def _called(what: str, name: str) -> str:
    return what if name == DEFAULT_DOMAIN else f"{what} of domain {name}"


LET_GO: Final = 10.0
"""Seconds for which a nix-daemon may take to notice that nothing is asked of it."""


async def accepts(path: Path) -> bool:
    """Whether something accepts connections at `path`.

    Returns once it has let go of ours: a nix-daemon opens its store for every connection, and who
    is told that we are ready may be about to replace that store.
    """
    connection = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        try:
            await connection.connect(str(path))
            connection.shutdown(socket.SHUT_WR)
            with trio.move_on_after(LET_GO):
                while await connection.recv(1024):
                    pass
        except OSError:
            return False
    return True


async def supervise(
    launch: Launch,
    *,
    deadline: float,
    shutdown: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one nix-daemon until cancelled; start it anew when it dies.

    Args:
        launch: what to run.
        deadline: seconds from its start until it must accept connections.
        shutdown: seconds that it may take to end after SIGTERM.
        task_status: started once the daemon accepts connections.

    Raises:
        ShimError: it did not come up; the message holds the last lines it printed.
    """
    first = True
    while True:
        launch.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        launch.socket.unlink(missing_ok=True)
        tail: list[str] = []
        # Not trio.open_process: it forks in a worker thread, and PR_SET_PDEATHSIG takes the end of
        # that thread for ours.
        process = Popen(  # noqa: ASYNC220 - see above; forking takes a millisecond
            launch.command,
            env=dict(launch.environment),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_keep_tail, launch.name, process, tail)
                await _until_ready(launch, process, tail, deadline)
                if first:
                    task_status.started()
                    first = False
                code = await _wait(process)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await _end(process, shutdown)
        log.warning("nix-daemon-died", name=launch.name, code=code, output="\n".join(tail))
        await trio.sleep(1)


async def _until_ready(
    launch: Launch, process: Popen[bytes], tail: list[str], deadline: float
) -> None:
    try:
        with trio.fail_after(deadline):
            while not await accepts(launch.socket):
                if process.poll() is not None:
                    raise _not_up(launch, f"it exited with code {process.returncode}", tail)
                await trio.sleep(READY_POLL)
    except trio.TooSlowError:
        raise _not_up(launch, f"no answer within {deadline:g} s", tail) from None


def _not_up(launch: Launch, why: str, tail: list[str]) -> ShimError:
    said = "".join(f"\n  | {line}" for line in tail)
    return ShimError(
        f"the {launch.name} did not come up: {why}; command: {' '.join(launch.command)}{said}",
        code=ExitCode.UNAVAILABLE,
    )


async def _wait(process: Popen[bytes]) -> int:
    return await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)


async def _keep_tail(name: str, process: Popen[bytes], tail: list[str]) -> None:
    assert process.stdout is not None
    rest = b""
    async for chunk in trio.lowlevel.FdStream(os.dup(process.stdout.fileno())):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[-4096:]
        for line in lines:
            text = line.decode(errors="replace")
            tail.append(text)
            log.debug("nix-daemon-said", name=name, line=text)
        del tail[:-TAIL]


async def _end(process: Popen[bytes], shutdown: float) -> None:
    if process.poll() is None:
        process.terminate()
        with trio.move_on_after(shutdown):
            await _wait(process)
    if process.poll() is None:
        process.kill()
        await _wait(process)
    assert process.stdout is not None
    process.stdout.close()
