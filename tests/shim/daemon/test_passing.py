"""Two sockets joined by one thread, and how a thread that waits on sockets ends."""

import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from random import Random

import pytest
import trio

from shim.daemon.clients.passing import Joint, Silent, Then, in_thread
from shim.daemon.nix.upstream import CHUNK

LONG = 20.0
"""Seconds that nothing here waits for unless it is stuck."""

MUCH = 4 << 20
"""Bytes that no buffers between the two ends hold."""


def pass_on(data: bytes) -> Then:
    return Then.PASS_ON if data else Then.STOP


class Ends:
    """A joint, and the far sides of both of its sockets."""

    def __init__(self, idle: float, transfer: float) -> None:
        self.near, self.client = socket.socketpair()
        self.far, self.daemon = socket.socketpair()
        near, far = map(trio.socket.from_stdlib_socket, (self.near, self.far))
        self.client.settimeout(LONG)
        self.daemon.settimeout(LONG)
        self.joint = Joint(near, far, idle, transfer)

    def client_says(self, data: bytes) -> Then:
        """What an operator's session does: the end of one direction is passed on."""
        if data:
            return Then.PASS_ON
        self.joint.finish_far()
        return Then.GO_ON

    def run(self) -> None:
        self.joint.run(self.client_says, pass_on)
        self.joint.flush()


@contextmanager
def ends(idle: float = LONG, transfer: float = LONG) -> Iterator[Ends]:
    found = Ends(idle, transfer)
    try:
        yield found
    finally:
        for each in (found.near, found.far, found.client, found.daemon):
            each.close()


@contextmanager
def running(idle: float = LONG, transfer: float = LONG) -> Iterator[tuple[Ends, "Future[None]"]]:
    """The same, and a thread that joins them; it is ended at the end."""
    with ends(idle, transfer) as found, ThreadPoolExecutor() as pool:
        run = pool.submit(found.run)
        try:
            yield found, run
        finally:
            for each in (found.near, found.far):
                each.shutdown(socket.SHUT_RDWR)


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(CHUNK), b""))


def read(sock: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        data = sock.recv(min(CHUNK, size - len(found)))
        assert data, f"only {len(found)} of {size} bytes came"
        found += data
    return bytes(found)


def fill(sock: socket.socket, data: bytes) -> int:
    """Send until nothing more is taken; how much was."""
    sock.setblocking(False)
    sent = 0
    while sent < len(data) and select.select([], [sock], [], 0.1)[1]:
        sent += sock.send(data[sent : sent + CHUNK])
    sock.settimeout(LONG)
    return sent


def noise(seed: int) -> bytes:
    return Random(seed).randbytes(MUCH)  # noqa: S311 - nothing secret


def test_both_directions_are_full_and_arrive_whole() -> None:
    requests, answers = noise(1), noise(2)
    with running() as (found, run), ThreadPoolExecutor() as pool:
        asked, answered = fill(found.client, requests), fill(found.daemon, answers)
        assert asked < MUCH
        assert answered < MUCH
        asking = pool.submit(found.client.sendall, requests[asked:])
        answering = pool.submit(found.daemon.sendall, answers[answered:])
        heard = pool.submit(read, found.client, MUCH)
        assert read(found.daemon, MUCH) == requests
        assert heard.result(LONG) == answers
        asking.result(LONG)
        answering.result(LONG)
        assert not run.done()


@pytest.mark.parametrize("downwards", [True, False])
def test_what_one_end_says_is_held_up_by_the_other(*, downwards: bool) -> None:
    with running() as (found, _):
        says, hears = found.client, found.daemon
        if not downwards:
            says, hears = hears, says
        room = sum(
            each.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            for each in (says, found.near, found.far)
        )
        data = noise(3)
        sent = fill(says, data)
        assert sent <= room + 2 * CHUNK
        # The other direction is as free as before.
        hears.sendall(b"meanwhile")
        assert read(says, 9) == b"meanwhile"
        assert read(hears, sent) == data[:sent]


def test_a_client_that_says_no_more_is_still_answered() -> None:
    answer = noise(4)
    with running() as (found, run), ThreadPoolExecutor() as pool:
        found.client.sendall(b"request")
        found.client.shutdown(socket.SHUT_WR)
        assert read_all(found.daemon) == b"request"
        answering = pool.submit(found.daemon.sendall, answer)
        assert read(found.client, MUCH) == answer
        answering.result(LONG)
        assert not run.done()
        found.daemon.close()
        run.result(LONG)


def test_the_end_of_a_client_is_passed_on_behind_all_that_it_said() -> None:
    request = noise(5)
    with running() as (found, _), ThreadPoolExecutor() as pool:

        def ask() -> None:
            found.client.sendall(request)
            found.client.shutdown(socket.SHUT_WR)

        asking = pool.submit(ask)
        assert read_all(found.daemon) == request
        asking.result(LONG)


@pytest.mark.parametrize("half_first", [True, False])
def test_a_client_that_is_gone_ends_the_session(*, half_first: bool) -> None:
    with running() as (found, run):
        found.client.sendall(b"request")
        if half_first:
            found.client.shutdown(socket.SHUT_WR)
            assert read_all(found.daemon) == b"request"
        found.client.close()
        with pytest.raises(BrokenPipeError):
            run.result(LONG)


def test_a_client_that_goes_while_it_is_told_much_ends_the_session() -> None:
    with running() as (found, run):
        assert fill(found.daemon, noise(6)) < MUCH
        found.client.close()
        with pytest.raises(OSError, match=r"(?i)pipe|reset|closed") as caught:
            run.result(LONG)
        assert not isinstance(caught.value, Silent)


def test_what_a_daemon_says_last_is_heard_by_a_client_that_is_still_asking() -> None:
    # A socket that is closed with something unread resets the other end, which may still read.
    words = noise(7)[: CHUNK // 2]
    with running() as (found, run):
        assert fill(found.client, noise(8)) < MUCH
        found.daemon.sendall(words)
        found.daemon.close()
        run.result(LONG)
        found.near.shutdown(socket.SHUT_RDWR)
        assert heard(found.client) == words


def test_a_daemon_that_hears_no_more_says_all_that_it_has_to() -> None:
    words = noise(12)
    with running() as (found, run), ThreadPoolExecutor() as pool:
        found.daemon.shutdown(socket.SHUT_RD)
        asking = pool.submit(found.client.sendall, noise(13))
        saying = pool.submit(found.daemon.sendall, words)
        assert read(found.client, MUCH) == words
        asking.result(LONG)
        saying.result(LONG)
        found.daemon.close()
        run.result(LONG)


def heard(sock: socket.socket) -> bytes:
    """All that can be read; how the other end closes does not matter."""
    found = b""
    with suppress(ConnectionResetError):
        while data := sock.recv(CHUNK):
            found += data
    return found


def test_nobody_says_anything() -> None:
    with running(idle=0.05) as (_, run), pytest.raises(Silent, match="nobody said"):
        run.result(LONG)


def test_somebody_takes_nothing() -> None:
    with running(transfer=0.05) as (found, run):
        fill(found.client, noise(9))
        with pytest.raises(Silent, match="nobody took"):
            run.result(LONG)


def test_whoever_waits_for_ever_waits() -> None:
    with running(idle=float("inf"), transfer=1e12) as (found, run):
        found.client.sendall(b"request")
        assert read(found.daemon, 7) == b"request"
        fill(found.client, noise(14))
        assert not run.done()


def test_stopping_leaves_what_was_sent_to_be_flushed() -> None:
    answer, last = noise(10), b"the last request"

    def stop(data: bytes) -> Then:
        assert data == last
        found.joint.to_near(answer)
        return Then.STOP

    with ends() as found, ThreadPoolExecutor() as pool:
        found.client.sendall(last)
        found.joint.run(stop, pass_on)
        flushed = pool.submit(found.joint.flush)
        assert read(found.client, 1) == answer[:1]
        assert not flushed.done()
        assert read(found.client, MUCH - 1) == answer[1:]
        flushed.result(LONG)


def test_flushing_ends_when_nothing_is_taken() -> None:
    with ends(transfer=0.05) as found:
        found.joint.to_near(noise(11))
        with pytest.raises(Silent, match="nobody took"):
            found.joint.flush()


def test_what_is_told_goes_out_in_the_order_in_which_it_was_said() -> None:
    pieces = [bytes([number]) * (CHUNK - number) for number in range(24)]

    def answer(_: bytes) -> Then:
        for piece in pieces:
            found.joint.to_near(piece)
        return Then.GO_ON

    def end(data: bytes) -> Then:
        if data:
            found.joint.to_near(data)
            found.joint.to_far(b"heard")
        return Then.GO_ON if data else Then.STOP

    def serve() -> None:
        found.joint.run(answer, end)
        found.joint.flush()

    with ends() as found, ThreadPoolExecutor() as pool:
        run = pool.submit(serve)
        found.client.sendall(b"!")
        select.select([found.client], [], [])
        found.daemon.sendall(b"and more")
        whole = b"".join(pieces) + b"and more"
        assert read(found.client, len(whole)) == whole
        assert read(found.daemon, 5) == b"heard"
        found.daemon.close()
        run.result(LONG)


def test_a_thread_gives_back_what_its_work_does() -> None:
    def fail() -> None:
        raise KeyError("work")

    assert trio.run(in_thread, lambda: 42) == 42
    with pytest.raises(KeyError, match="work"):
        trio.run(in_thread, fail)


def test_who_is_cancelled_ends_the_thread_and_hears_nothing_of_its_error() -> None:
    started, ended = threading.Event(), threading.Event()

    def work(sock: socket.socket) -> None:
        started.set()
        select.select([sock], [], [])
        assert not sock.recv(1)
        ended.set()
        raise KeyError("work")

    async def scene() -> bool:
        ours, theirs = socket.socketpair()
        with theirs, trio.socket.from_stdlib_socket(ours) as sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(in_thread, partial(work, ours), sock)
                await trio.to_thread.run_sync(started.wait)
                nursery.cancel_scope.cancel()
        return nursery.cancel_scope.cancelled_caught

    assert trio.run(scene)
    assert ended.is_set()


def test_sockets_of_a_thread_that_is_done_are_left_alone() -> None:
    async def scene() -> bytes:
        ours, theirs = socket.socketpair()
        with theirs, trio.socket.from_stdlib_socket(ours) as sock:
            await in_thread(lambda: None, sock)
            await sock.send(b"still open")
            return theirs.recv(100)

    assert trio.run(scene) == b"still open"
