"""Waiting finds what there is, ends when it should, and keeps one thread awake at most."""

import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from shim.daemon.clients import waiting
from shim.daemon.clients.waiting import LONGEST, waiter

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def polling(sock: socket.socket, events: int = select.POLLIN) -> "select.poll":
    poll = select.poll()
    poll.register(sock, events)
    return poll


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.05, 20.0, float("inf"), LONGEST * 2])
def test_what_is_there_is_found_at_once(pair: Pair, seconds: float) -> None:
    pair[1].send(b"x")
    assert waiter(polling(pair[0]))(seconds) == [(pair[0].fileno(), select.POLLIN)]


@pytest.mark.parametrize("seconds", [-1.0, 0.0, waiting.AWAKE, 0.05])
def test_nothing_is_found_when_the_time_is_over(pair: Pair, seconds: float) -> None:
    begin = time.monotonic()
    assert waiter(polling(pair[0]))(seconds) == []
    assert time.monotonic() - begin >= seconds


def test_what_comes_while_asleep_is_found(pair: Pair) -> None:
    later = threading.Timer(0.1, pair[1].send, (b"x",))
    later.start()
    assert waiter(polling(pair[0]))(20) == [(pair[0].fileno(), select.POLLIN)]
    later.join()


def test_a_thread_that_sleeps_lets_another_be_awake(pair: Pair) -> None:
    asleep = threading.Thread(target=waiter(polling(pair[0])), args=(20,))
    asleep.start()
    other = waiter(polling(pair[1], select.POLLOUT))
    for _ in range(100):
        assert other(20) == [(pair[1].fileno(), select.POLLOUT)]
    assert waiting._awake.acquire(timeout=20)
    waiting._awake.release()
    pair[1].send(b"x")
    asleep.join(20)
    assert not asleep.is_alive()


def test_waiting_goes_on_while_another_is_awake(pair: Pair) -> None:
    with waiting._awake:
        assert waiter(polling(pair[0]))(0.01) == []
        pair[1].send(b"x")
        assert waiter(polling(pair[0]))(20) == [(pair[0].fileno(), select.POLLIN)]
