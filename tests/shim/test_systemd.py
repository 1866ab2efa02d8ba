import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shim.systemd import listening, notify, watchdog


def test_sockets_that_were_passed_are_taken_once(tmp_path: Path) -> None:
    program = (
        "import os\nfrom shim.systemd import listening\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "one, two = listening()\n"
        "print(one.getsockname(), two.family.name, one.getblocking(), listening(),"
        " 'LISTEN_FDS' in os.environ)\n"
    )
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as unix, socket.socket() as tcp:
        unix.bind(str(path))
        tcp.bind(("127.0.0.1", 0))

        numbers = (unix.fileno(), tcp.fileno())
        place = 'exec 213<&{} 214<&{}; exec 3<&213 4<&214; exec "$@"'.format(*numbers)
        done = subprocess.run(
            ["bash", "-c", place, "bash", sys.executable, "-c", program],
            env={**os.environ, "LISTEN_FDS": "2"},
            pass_fds=numbers,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    assert done.stdout.split() == [str(path), "AF_INET", "True", "[]", "False"]


def test_sockets_for_another_process_are_left() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    assert listening(environ) == []
    assert environ == {}


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_what_it_is_told(tmp_path: Path, *, abstract: bool) -> None:
    name = f"@nix-shim-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(10)
        notify("READY=1", "STATUS=well", environ={"NOTIFY_SOCKET": name})
        assert manager.recv(100) == b"READY=1\nSTATUS=well"


def test_no_manager_is_no_error(tmp_path: Path) -> None:
    notify("READY=1", environ={})
    notify("READY=1", environ={"NOTIFY_SOCKET": str(tmp_path / "none")})


def test_signs_of_life_come_twice_as_often_as_wanted() -> None:
    assert watchdog({"WATCHDOG_USEC": "30000000"}) == 15
    assert watchdog({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog({}) is None
