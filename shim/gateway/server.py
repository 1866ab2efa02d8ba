"""The gateway's process: listen, admit, serve, reload, end.

Start: the host key, the peers' keys, then the sockets.  SIGHUP reads the configuration again: peers
and users change, sessions go on; what was bound stays bound.  SIGTERM, SIGINT: nobody new is let
in, sessions get `deadlines.drain` seconds to end (a second signal ends them at once).
"""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import asyncssh
import structlog

from shim import systemd
from shim.config import Config, Gateway
from shim.errors import ExitCode, ShimError
from shim.gateway import chacha, hostkey, peers
from shim.gateway.admission import Admission, Verdict, source_of
from shim.gateway.connection import Connection, Server
from shim.gateway.session import Session

log = structlog.get_logger()

KEY_EXCHANGES: Final = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
)
CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
)
"""The client's order counts, so a board without AES instructions gets ChaCha20 by its own wish."""

MACS: Final = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
"""Never used: all of `CIPHERS` authenticate by themselves.  SSH wants a common one all the same."""

SIGNATURES: Final = (
    *(kind for kind in peers.TYPES if kind != "ssh-rsa"),
    *("rsa-sha2-256", "rsa-sha2-512"),
)

UNANSWERED: Final = 3
"""Keep-alives without an answer after which a client is lost."""

CHUNK: Final = 1 << 18
"""Bytes that are read from a socket at once."""

NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""What the kernel says to an IPv6 address where IPv6 is not built in, or is switched off."""

BACKLOG: Final = 128


async def options(
    config: Gateway, host_key: asyncssh.SSHKey, server: Callable[[], Server]
) -> asyncssh.SSHServerConnectionOptions:
    """How every connection is served: what is offered, and that nothing else is."""
    kex = [name for name in KEY_EXCHANGES if name.encode() in asyncssh.kex.get_kex_algs()]
    made: asyncssh.SSHServerConnectionOptions = await asyncssh.SSHServerConnectionOptions.construct(
        server_factory=server,
        server_host_keys=[host_key],
        server_version="nix-shim",
        kex_algs=kex,
        encryption_algs=CIPHERS,
        mac_algs=MACS,
        # Decompression has no limit in asyncssh, so a small packet could become a very large one.
        compression_algs=["none"],
        signature_algs=SIGNATURES,
        public_key_auth=True,
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_host=None,
        allow_pty=False,
        x11_forwarding=False,
        agent_forwarding=False,
        line_editor=False,
        allow_scp=False,
        login_timeout=config.login_timeout,
        keepalive_interval=config.keepalive,
        keepalive_count_max=UNANSWERED,
        encoding=None,
    )
    return made


class Gatekeeper:
    """Everything the gateway knows while it runs; a `connection.Door`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.keys = peers.read(config)
        self.buffer = memoryview(bytearray(CHUNK))
        self.sessions: Counter[str] = Counter()
        self.connections: Counter[str] = Counter()
        self.open_connections: set[Connection] = set()
        self._admission: Admission[socket.socket] = Admission(config.gateway.logins)
        self._logging_in: dict[Connection, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._options: asyncssh.SSHServerConnectionOptions
        self.host_key = hostkey.find(config.gateway)

    async def prepare(self) -> None:
        """Make what connections are made with."""
        self._options = await options(self.config.gateway, self.host_key, lambda: Server(self))

    def reload(self, config: Config) -> None:
        """Take the peers, users and limits of another configuration.

        Raises:
            ShimError: a key cannot be taken; nothing changes then.
        """
        self.keys = peers.read(config)
        self.config = config
        self._admission.places = config.gateway.logins

    # connection.Door

    def owner(self, key: bytes, user: str) -> str | None:
        users = self.config.gateway.users
        return self.keys.get(key) if not users or user in users else None

    def allowance(self, peer: str) -> int:
        return self.config.peer(peer).sessions

    def open(self, connection: Connection, peer: str) -> Session:
        return Session(connection, peer, self.config.socket, self.allowance(peer))

    def logged_in(self, connection: Connection) -> None:
        self._next(self._logging_in.pop(connection))

    def gone(self, connection: Connection) -> None:
        self.open_connections.discard(connection)
        if (source := self._logging_in.pop(connection, None)) is not None:
            log.info("login-failed", source=source)
            self._next(source)

    # Logins

    def arrive(self, sock: socket.socket, address: str) -> None:
        """Somebody connected: start, keep waiting or turn away."""
        source = source_of(address)
        match self._admission.arrive(source, sock):
            case Verdict.START:
                self._start(sock, source)
            case Verdict.WAIT:
                asyncio.get_running_loop().call_later(
                    self.config.gateway.login_timeout, self._give_up, source, sock
                )
            case Verdict.REFUSE:
                log.warning("client-refused", why="gateway.logins reached", source=source)
                sock.close()

    def _give_up(self, source: str, sock: socket.socket) -> None:
        if self._admission.give_up(source, sock):
            log.warning("client-refused", why="no place to log in became free", source=source)
            sock.close()

    def _next(self, source: str) -> None:
        if (after := self._admission.leave(source)) is not None:
            self._start(after[1], after[0])

    def _start(self, sock: socket.socket, source: str) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(sock, source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket, source: str) -> None:
        loop = asyncio.get_running_loop()
        connection = Connection(self, loop, self._options)
        self._logging_in[connection] = source
        self.open_connections.add(connection)
        try:
            await loop.connect_accepted_socket(lambda: connection, sock)
        except OSError as error:  # the client is gone already
            log.info("login-failed", source=source, why=str(error))
            sock.close()
            self.gone(connection)


def listen(config: Gateway) -> list[socket.socket]:
    """The sockets of `gateway.addresses`; `::` is left out on a machine without IPv6.

    Raises:
        ShimError: one of them cannot be had.
    """
    bound = []
    for address in config.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, config.port))
            sock.listen(BACKLOG)
        except (OSError, OverflowError) as error:
            number = getattr(error, "errno", None)
            if address == "::" and number in NO_IPV6 and len(config.addresses) > 1:
                continue
            why = getattr(error, "strerror", None) or error
            raise ShimError(
                f"cannot listen on `{address}` port `{config.port}`: {why}",
                hint="see gateway.addresses and gateway.port",
                code=ExitCode.UNAVAILABLE,
            ) from error
        bound.append(sock)
    return bound


async def _accept(sock: socket.socket, keeper: Gatekeeper) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            client, address = await loop.sock_accept(sock)
        except OSError as error:  # out of descriptors: sessions that end give some back
            log.warning("client-refused", why=str(error))
            await asyncio.sleep(0.2)
            continue
        keeper.arrive(client, address[0])


async def _run(load: Callable[[], Config], config: Config) -> None:
    keeper = Gatekeeper(config)
    await keeper.prepare()
    sockets = systemd.listening() or listen(config.gateway)
    loop = asyncio.get_running_loop()
    stop: asyncio.Queue[str] = asyncio.Queue()
    loop.add_signal_handler(signal.SIGHUP, _reload, keeper, load)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.put_nowait, number.name)
    for sock in sockets:
        sock.setblocking(False)
    accepting = [loop.create_task(_accept(sock, keeper)) for sock in sockets]
    alive = loop.create_task(_signs_of_life())
    systemd.notify("READY=1")
    log.info(
        "gateway-ready",
        port=config.gateway.port,
        peers=len(set(keeper.keys.values())),
        public_host_key=hostkey.public_host_key(keeper.host_key),
        pid=os.getpid(),
    )
    log.info("stopping", signal=await stop.get())
    systemd.notify("STOPPING=1")
    for task in accepting:
        task.cancel()
    for sock in sockets:
        sock.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(config.deadlines.drain):
            await _drained(keeper, stop)
    for connection in list(keeper.open_connections):
        connection.drop()
    alive.cancel()
    await asyncio.sleep(0)  # the connections tell their sessions, and those the daemon


async def _signs_of_life() -> None:
    """Tell a service manager that wants to know that this loop turns."""
    while (interval := systemd.watchdog()) is not None:
        systemd.notify("WATCHDOG=1")
        await asyncio.sleep(interval)


async def _drained(keeper: Gatekeeper, stop: asyncio.Queue[str]) -> None:
    """Wait until nobody holds a session, or for another signal."""
    while keeper.sessions.total() and stop.empty():  # noqa: ASYNC110 - once, at the end
        await asyncio.sleep(0.1)


def _reload(keeper: Gatekeeper, load: Callable[[], Config]) -> None:
    systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        keeper.reload(load())
    except ShimError as error:
        log.error("reload-failed", why=str(error))  # noqa: TRY400 - the sentence says it all
    else:
        log.info("reloaded", peers=len(set(keeper.keys.values())))
    finally:
        systemd.notify("READY=1")


def serve(load: Callable[[], Config], config: Config) -> None:
    """Run the gateway until SIGTERM or SIGINT.

    Args:
        load: reads the configuration anew.
        config: the one to start with.

    Raises:
        ShimError: something that it needs is missing; the message says what mends it.
    """
    chacha.install()
    asyncssh.set_log_level("CRITICAL")  # what matters is told by us, without strangers' words
    asyncio.run(_run(load, config))
