"""Sessions that the daemon records: whole, whoever is at the other end and whatever it asks."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.serve import events as serve
from protocol.transcript.decode import messages
from protocol.worker import events as worker
from tests.live.sidebyside import SOCKET, SSH, Side

SESSION = """\
seq 300000 > $BASE/large
path=$(nix-store --store local?root=$BASE/other --add $BASE/large)
nix copy --no-check-sigs --from local?root=$BASE/other --to $NIX_REMOTE $path
store=$NIX_REMOTE
unset NIX_REMOTE
nix copy --no-check-sigs --from $store --to local?root=$BASE/third $path
cmp $BASE/large $BASE/third$path
nix path-info --store $store $path
"""
"""A file goes up and comes down again."""

LARGE = len("".join(f"{number}\n" for number in range(1, 300001)))


@pytest.fixture
def side() -> Iterator[Side]:
    with tempfile.TemporaryDirectory(prefix="tape-") as folder:
        made = Side(
            Path(folder) / "s",
            None,
            None,
            shim=True,
            more='record-directory = "{base}/recordings"\n',
        )
        made.start()
        yield made
        made.stop()


def asked(file: Path) -> list[str]:
    """What a recorded client asks, once everything in the recording is understood."""
    return [
        each.event.operation.name
        for each in messages([file.read_bytes()])
        if isinstance(each.event, worker.Asked | serve.Asked)
    ]


def carried(file: Path) -> tuple[int, int]:
    """Bytes of bodies, up and down."""
    up = down = 0
    for message in messages([file.read_bytes()]):
        match message.event:
            case worker.BodyData(data) | serve.BodyData(data):
                up += len(data)
            case worker.ReplyData(data) | serve.ReplyData(data):
                down += len(data)
            case _:
                pass
    return up, down


@pytest.mark.parametrize(
    ("remote", "name", "goes_down"),
    [
        pytest.param(SOCKET, "uid-0", False, id="operator"),
        pytest.param(SSH, "board", True, id="peer"),
        pytest.param(SSH.replace("ssh-ng", "ssh"), "board", True, id="peer, serve protocol"),
    ],
)
def test_everything_is_in_the_recording(
    remote: str, name: str, goes_down: bool, side: Side
) -> None:
    code, _, said = side.run(SESSION, remote=remote)
    assert code == 0, said
    side.stop()
    side.running.clear()
    files = sorted((side.base / "recordings").glob(f"{name}-*.nixrec"))
    operations = {operation for file in files for operation in asked(file)}
    assert operations & {"AddMultipleToStore", "AddToStoreNar"}
    up, down = (sum(each) for each in zip(*map(carried, files), strict=True))
    assert up > LARGE
    if goes_down:  # over a socket, clients read the files themselves
        assert operations & {"NarFromPath", "DumpStorePath"}
        assert down > LARGE
