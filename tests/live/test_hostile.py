"""A hostile board: what it tries, what it hears, and that the others go on as before."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from protocol.store import aterm
from protocol.store.build_result import BuildStatus
from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import BasicDerivation, FixedOutput, InputAddressed
from protocol.store.derived_path import ALL_OUTPUTS, Built
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.wire.source import WORD
from protocol.worker import messages as m
from protocol.worker import multiple
from protocol.worker.messages import BuildMode
from shim.config import Peer
from shim.preamble import Preamble
from shim.session.routes import MAX_ROOTS
from tests.live import talking
from tests.live.conftest import Pair
from tests.live.flights import wait_for
from tests.live.talking import Hung, Refused, Sayings, Talker
from tests.live.world import Shim


@pytest.fixture(scope="module")
def sayings(tmp_path_factory: pytest.TempPathFactory) -> Sayings:
    return talking.make(tmp_path_factory.mktemp("sayings"))


@pytest.fixture(scope="module")
def known(package: Callable[[str], Pair]) -> Pair:
    """A package that a table knows."""
    return package("words")


@pytest.fixture(scope="module")
def shim(sayings: Sayings, known: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    running = Shim(tmp_path_factory.mktemp("hostile"), tables=[known.table], cross=False)
    sayings.put(running.serving_root, ["plain", "other", "here"])
    with running:
        with Talker(running) as honest:
            honest.ask(m.BuildPaths((Built(sayings.drvs["plain"], ALL_OUTPUTS),)))
        yield running


@pytest.fixture(autouse=True)
def others_go_on(shim: Shim, sayings: Sayings) -> Iterator[None]:
    """Beside and after every attempt, another peer is served."""
    with Talker(shim, "honest") as beside:
        yield
        for talker in (beside, Talker(shim, "honest")):
            with talker:
                assert talker.ask(m.IsValidPath(sayings.out("plain")))
                nar = talker.ask(m.NarFromPath(sayings.out("plain")))
                assert nar == talking.file_nar(b"plain\n")
                assert (
                    talker.ask(m.BuildPaths((Built(sayings.drvs["plain"], ALL_OUTPUTS),))) is None
                )


@pytest.fixture
def talker(shim: Shim) -> Iterator[Talker]:
    with Talker(shim, "hostile") as talker:
        yield talker


def with_outputs(flat: BasicDerivation, **paths: str) -> BasicDerivation:
    outputs = {name: InputAddressed(StorePath.parse(path)) for name, path in paths.items()}
    env = {name: value for name, value in flat.env.items() if name not in flat.outputs}
    return replace(flat, outputs=outputs, env={**env, **paths})


def evil(flat: BasicDerivation) -> BasicDerivation:
    """The same claim with another recipe."""
    return replace(flat, args=("-c", "echo evil > $out"))


STRANGE: Final = "/nix/store/00000000000000000000000000000000-"

Flat = Callable[[Sayings, Pair], tuple[StorePath, BasicDerivation]]

FORGED: Final[dict[str, tuple[Flat, str]]] = {
    "another recipe under a path that the store knows": (
        lambda s, _: (s.drvs["plain"], evil(s.flat("plain"))),
        "its args is another",
    ),
    "another recipe for an output that the table knows": (
        lambda s, known: (
            StorePath.parse(f"{STRANGE}{Path(known.out).name[33:]}.drv"),
            with_outputs(evil(s.flat("plain")), out=known.out),
        ),
        "which is known here, but its",
    ),
    "an output that the table knows, among others": (
        lambda s, known: (
            StorePath.parse(f"{STRANGE}{Path(known.out).name[33:]}.drv"),
            with_outputs(
                evil(s.flat("plain")), a=f"{STRANGE}{Path(known.out).name[33:]}-a", out=known.out
            ),
        ),
        "which is known here, but its outputs are others",
    ),
    "an output of another name": (
        lambda s, _: (
            StorePath.parse(f"{STRANGE}harmless.drv"),
            with_outputs(evil(s.flat("plain")), out=f"{STRANGE}openssl-3.0"),
        ),
        "would be called `harmless`",
    ),
    "a fixed output at another path": (
        lambda s, _: (
            s.drvs["fixed"],
            replace(
                s.flat("fixed"),
                outputs={
                    "out": FixedOutput(
                        StorePath.parse(f"{STRANGE}fixed"),
                        ContentAddress(Method.FLAT, Hash.of(b"fixed")),
                    )
                },
            ),
        ),
        "its hash leads to",
    ),
}


@pytest.mark.parametrize("attempt", sorted(FORGED))
def test_a_forged_flat_build_is_refused(
    attempt: str, talker: Talker, sayings: Sayings, known: Pair, shim: Shim
) -> None:
    flat, expected = FORGED[attempt]
    path, derivation = flat(sayings, known)
    result = talker.ask(m.BuildDerivation(path, derivation))
    assert result.status is BuildStatus.INPUT_REJECTED
    assert expected in result.error_message
    assert result.error_message in "".join(talker.said)
    for out in derivation.output_paths().values():
        assert out == sayings.out("plain") or not shim.serves(out)


def forged_recipe(sayings: Sayings) -> talking.Thing:
    """A `.drv` that is where its content says, and states an output that is not its own."""
    recipe = sayings.derivation("other")
    out = StorePath.parse(f"{STRANGE}other")
    forged = replace(recipe, outputs={"out": InputAddressed(out)}, env={**recipe.env, "out": out})
    return talking.proven("other.drv", aterm.unparse(forged), recipe.input_sources)


UPLOADS: Final[dict[str, tuple[Callable[[Sayings], talking.Thing], str]]] = {
    "a derivation that nothing proves": (
        lambda s: talking.claimed(s.drvs["failing"], b"Derive([],[],[],,,[],[])"),
        "needs its content address",
    ),
    "a derivation under another's path": (
        lambda s: talking.proven("evil.drv", b"Derive()").at(s.drvs["failing"]),
        "leads to",
    ),
    "other content than the address says": (
        lambda _: replace(
            talking.proven("text", b"as announced"),
            nar=talking.file_nar(b"as delivered"),
        ),
        "hash mismatch",
    ),
    "other content that hashes as announced": (
        lambda _: talking.proven("text", b"as announced").saying(
            content_address=ContentAddress(Method.TEXT, Hash.of(b"something else"))
        ),
        "leads to",
    ),
    "a derivation that states another's output": (forged_recipe, "incorrect output"),
    "a reference that is not there": (
        lambda _: talking.proven(
            "text", b"some", frozenset({StorePath.parse(f"{STRANGE}nowhere")})
        ),
        "is not valid",
    ),
    "an address that can have no references": (
        lambda s: talking.claimed(
            StorePath.parse(f"{STRANGE}flat"),
            b"flat",
            content_address=ContentAddress(Method.FLAT, Hash.of(b"flat")),
            references=frozenset({s.out("plain")}),
        ),
        "cannot have references",
    ),
}


@pytest.mark.parametrize("one_by_one", [True, False], ids=["AddToStoreNar", "AddMultipleToStore"])
@pytest.mark.parametrize("attempt", sorted(UPLOADS))
def test_a_forged_upload_is_refused(
    attempt: str, talker: Talker, sayings: Sayings, shim: Shim, *, one_by_one: bool
) -> None:
    make, expected = UPLOADS[attempt]
    thing = make(sayings)
    single = m.AddToStoreNar(thing.path, thing.info, dont_check_signatures=True)
    both = talking.proven("first", b"goes in"), thing
    send = (lambda: talker.ask(single, thing.nar)) if one_by_one else partial(talker.upload, *both)
    with pytest.raises(Refused, match=expected):
        send()
    assert talker.ask(m.IsValidPath(sayings.out("plain")))
    assert not shim.serves(thing.path)


def test_an_upload_under_anothers_path_changes_nothing(talker: Talker, sayings: Sayings) -> None:
    lie = talking.claimed(sayings.out("plain"), b"evil")
    talker.upload(lie)
    for request in (
        m.AddToStoreNar(lie.path, lie.info, repair=True, dont_check_signatures=True),
        m.AddMultipleToStore(repair=True, dont_check_signatures=True),
        m.AddToStore("text", m.Addressing(Method.NAR), repair=True),
    ):
        with pytest.raises(Refused, match="repairing is not for boards"):
            talker.ask(request, lie.nar)
    # What is there is looked at by the fixture.


def test_nobody_says_that_this_store_built_something(talker: Talker) -> None:
    thing = talking.claimed(StorePath.parse(f"{STRANGE}ultimate"), b"x", ultimate=True)
    talker.ask(m.AddToStoreNar(thing.path, thing.info, dont_check_signatures=True), thing.nar)
    assert not talker.ask(m.QueryPathInfo(thing.path)).ultimate


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(WORD.pack(1 << 40), "1099511627776 paths", id="countless"),
        pytest.param(multiple.count(1) + bytes(100), "malformed", id="no path"),
        pytest.param(multiple.count(2), "malformed", id="too few"),
        pytest.param(multiple.count(0) + bytes(8), "malformed", id="too much"),
    ],
)
def test_a_malformed_upload_ends_with_a_clear_error(
    body: bytes, expected: str, talker: Talker, sayings: Sayings
) -> None:
    with pytest.raises(Refused, match=expected):
        talker.ask(m.AddMultipleToStore(), body)
    assert talker.ask(m.IsValidPath(sayings.out("plain")))


def test_a_nar_of_another_size_than_announced_is_refused(talker: Talker, sayings: Sayings) -> None:
    # A daemon that has the path skips as many bytes as announced: what follows would be read anew.
    smuggled = talking.claimed(sayings.out("plain"), b"x").saying(nar_size=8)
    with pytest.raises(Refused, match="announced"):
        talker.upload(smuggled)


RAW: Final = {
    "an endless string": WORD.pack(26) + WORD.pack(1 << 40),
    "an endless set": WORD.pack(31) + WORD.pack(1 << 40),
    "no operation": WORD.pack(4711),
    "no store path": WORD.pack(26) + WORD.pack(11) + b"/etc/passwd\0\0\0\0\0",
    "a build of nothing known": WORD.pack(46) + WORD.pack(1 << 30),
}


@pytest.mark.parametrize("attempt", sorted(RAW))
def test_a_broken_protocol_ends_the_session_with_a_word(attempt: str, talker: Talker) -> None:
    talker.socket.sendall(RAW[attempt])
    received = b""
    while data := talker.socket.recv(1 << 16):
        received += data
    assert b"Error" in received


def test_what_is_asked_ahead_waits_for_its_turn(talker: Talker, sayings: Sayings) -> None:
    path = sayings.out("plain").encode()
    question = WORD.pack(1) + WORD.pack(len(path)) + path + bytes(-len(path) % 8)
    talker.socket.sendall(question * 100)
    answer = WORD.pack(0x616C7473) + WORD.pack(1)
    received = b""
    while len(received) < 100 * len(answer):
        received += talker.socket.recv(1 << 16)
    assert received == answer * 100


def test_a_flood_ahead_of_a_build_ends_the_session(talker: Talker, sayings: Sayings) -> None:
    asked = f"{sayings.drvs['other']}!*".encode()
    request = WORD.pack(46) + WORD.pack(1) + WORD.pack(len(asked)) + asked
    request += bytes(-len(asked) % 8) + WORD.pack(BuildMode.NORMAL)
    with pytest.raises((ConnectionError, Hung)):  # noqa: PT012 - it may end anywhere in here
        talker.socket.sendall(request + bytes(16 << 20))
        while talker.socket.recv(1 << 16):
            pass
        raise Hung


def test_hooks_and_settings_are_not_smuggled_in(
    talker: Talker, sayings: Sayings, tmp_path: Path
) -> None:
    mark, hook = tmp_path / "mark", tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    names = ("post-build-hook", "pre-build-hook", "build-hook", "diff-hook")
    overrides = {name: str(hook) for name in names}
    overrides |= {"sandbox": "false", "run-diff-hook": "true", "substituters": "file:///evil"}
    talker.ask(m.SetOptions(overrides=overrides))
    assert "post-build-hook" in "".join(talker.said)
    for name in ("other", "here"):
        assert talker.ask(m.BuildPaths((Built(sayings.drvs[name], ALL_OUTPUTS),))) is None
    assert not mark.exists()


def test_what_lies_in_the_store_unproven_is_not_handed_out(talker: Talker, shim: Shim) -> None:
    path = StorePath.parse(f"{STRANGE}under-way")
    shim.serving_root.joinpath(path.lstrip("/")).write_text("half a build")
    for request in (m.NarFromPath(path), m.ExportPath(path)):
        with pytest.raises(Refused, match="is not valid"):
            talker.ask(request)


def test_other_peoples_roots_and_logs_are_not_shown(talker: Talker, sayings: Sayings) -> None:
    for request, body in (
        (m.FindRoots(), b""),
        (m.AddIndirectRoot("/root/.ssh/authorized_keys"), b""),
        (m.AddPermRoot(sayings.out("plain"), "/etc/shadow"), b""),
        (m.AddBuildLog(sayings.drvs["plain"]), b"log"),
    ):
        with pytest.raises(Refused, match="not for boards"):
            talker.ask(request, body)


@pytest.mark.long
def test_a_flood_of_roots_comes_to_an_end(talker: Talker, sayings: Sayings) -> None:
    path = sayings.out("plain").encode()
    root = WORD.pack(11) + WORD.pack(len(path)) + path + bytes(-len(path) % 8)
    answer = WORD.pack(0x616C7473) + WORD.pack(1)
    batch = 2000
    for _ in range(MAX_ROOTS // batch):
        talker.socket.sendall(root * batch)
        received = 0
        while received < batch * len(answer):
            received += len(talker.socket.recv(1 << 16))
    with pytest.raises(Refused, match=f"more than {MAX_ROOTS}"):
        talker.ask(m.AddTempRoot(sayings.out("plain")))


def test_many_connections_at_once_leave_room_for_others(shim: Shim) -> None:
    allowed = Peer().sessions
    with ExitStack() as held:
        for _ in range(allowed):
            held.enter_context(Talker(shim, "greedy"))
        with pytest.raises(Refused, match=r"peers\.greedy\.sessions"):
            Talker(shim, "greedy")
    wait_for(lambda: admitted(shim, "greedy"), 20)


def admitted(shim: Shim, peer: str) -> bool:
    try:
        with Talker(shim, peer):
            return True
    except Refused:
        return False


def test_a_preamble_cannot_be_repeated(shim: Shim) -> None:
    with Talker(shim, "hostile") as talker:
        talker.socket.sendall(Preamble("honest").render())
        with pytest.raises(Hung):  # noqa: PT012 - it may end anywhere in here
            while talker.socket.recv(1 << 16):
                pass
            raise Hung
