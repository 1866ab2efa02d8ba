"""Foreign fixed outputs are made by this machine's own derivations of the same, not emulated."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derived_path import ALL_OUTPUTS, Built
from protocol.worker.messages import (
    BuildDerivation,
    BuildMode,
    BuildPathsWithResults,
    EnsurePath,
    QueryMissing,
)
from tests.live import fetches, world
from tests.live.fetches import HERE, NATIVE, Fetched, Server
from tests.live.talking import Talker
from tests.live.world import Board, Shim, SshDoor

WITHOUT_EMULATORS: Final = (sys.executable, "-m", "shim.emulatorless")

NAMES: Final = (
    *("flat", "board", "newer", "newest", "other", "once", "image", "builtin", "told", "path"),
    *("graph", "missing", "fallback", "forged", "unknown", "stored", "strict", "asked"),
    *("daemon2", "daemon3", "same", "tabled", "untabled"),
)
UNKNOWN: Final = {"unknown", "stored", "strict"}
"""Names that the table lacks."""

STRICT: Final = """
[domains.strict]
uploads = "rederive"
[domains.strict.serving]
root = "{base}/strict"
[domains.strict.plant]
root = "{base}/strict-plant"
[peers.stranger]
domain = "strict"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server().serving() as serving:
        yield serving


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory, server: Server) -> dict[str, Fetched]:
    folder = tmp_path_factory.mktemp("fetches")
    return {name: fetches.make(folder, server, name) for name in NAMES}


@pytest.fixture(scope="module")
def table(every: dict[str, Fetched]) -> Path:
    known = [each for name, each in every.items() if name not in UNKNOWN]
    return fetches.table(every["flat"].folder / "fetches.table", known)


@pytest.fixture(scope="module")
def dark(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    """A shim where nothing can be emulated."""
    base = tmp_path_factory.mktemp("dark")
    more = STRICT.format(base=base)
    with Shim(base, tables=[table], within=WITHOUT_EMULATORS, more=more) as shim:
        yield shim


@pytest.fixture(scope="module")
def lit(
    table: Path, every: dict[str, Fetched], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shim]:
    """A shim that emulates, and plants nothing; it has what the native derivations run."""
    running = Shim(tmp_path_factory.mktemp("lit"), tables=[table], cross=False)
    fetches.put(running.serving_root, every["flat"].drvs["native.source"])
    with running:
        yield running


def flat(shim: Shim, each: Fetched, attribute: str, peer: str = "attic") -> "Answer":
    """Have a flat derivation built, as old clients ask."""
    with Talker(shim, peer=peer) as talker:
        request = BuildDerivation(each.drvs[attribute], each.flat(attribute), BuildMode.NORMAL)
        return Answer(talker.ask(request), "".join(talker.said), "\n".join(talker.log))


def graph(shim: Shim, each: Fetched, attribute: str) -> "Answer":
    """Have a derivation of the store built."""
    with Talker(shim) as talker:
        path = Built(each.drvs[attribute], ALL_OUTPUTS)
        ((_, result),) = talker.ask(BuildPathsWithResults((path,)))
        return Answer(result, "".join(talker.said), "\n".join(talker.log))


class Answer:
    """What became of a build, and what was said of it."""

    def __init__(self, result: BuildResult, said: str, log: str) -> None:
        self.result = result
        self.said = said
        """To the user."""
        self.log = log
        """In the build's log."""


def text(shim: Shim, each: Fetched, attribute: str) -> bytes:
    """What lies at an output in the serving store."""
    path = each.out(attribute)
    assert shim.serves(path)
    return (shim.serving_root / path.lstrip("/")).read_bytes()


def test_a_flat_one_is_fetched_without_an_emulator(
    dark: Shim, every: dict[str, Fetched], server: Server
) -> None:
    answer = flat(dark, every["flat"], "native.source")
    assert answer.result.status is BuildStatus.BUILT
    assert server.systems("flat") == [HERE]
    assert text(dark, every["flat"], "native.source") == server.contents("flat")
    assert "source-flat: made as its hash demands" in answer.said
    assert every["flat"].drvs["here.source"].base in answer.said
    assert "fixed-output: a table has" in answer.log
    assert "not emulate: binfmt_misc is not mounted" in answer.log or "no emulator" in answer.log


@pytest.mark.parametrize(
    ("name", "suite", "scheme"),
    [
        ("board", None, "ssh-ng://"),
        ("other", None, "ssh://"),
        ("newer", "trixie", "ssh-ng://"),
        pytest.param("newest", "sid", "ssh-ng://", marks=pytest.mark.long),
    ],
)
def test_a_stock_board_gets_its_source(
    name: str,
    suite: str | None,
    scheme: str,
    dark: Shim,
    every: dict[str, Fetched],
    server: Server,
    tmp_path: Path,
) -> None:
    each = every[name]
    board = Board(tmp_path / "board", suite=suite, shares=(tmp_path, each.folder))
    board.root.mkdir()
    with SshDoor(tmp_path / "ssh", dark) as door:
        built = board.nix(
            *("nix-build", str(each.folder), "-A", "native.source", *each.arguments),
            *("--no-out-link", "--store", board.store),
            *("--max-jobs", "0", "--builders", door.builder(scheme=scheme)),
            NIX_SSHOPTS=door.options,
        )
    assert built.stdout.strip() == each.out("native.source")
    assert "made as its hash demands" in built.stderr
    assert server.systems(name) == [HERE]
    assert board.physical(built.stdout.strip()).read_bytes() == server.contents(name)


def test_one_below_an_emulated_build_is_not_emulated(
    lit: Shim, every: dict[str, Fetched], server: Server
) -> None:
    each = every["graph"]
    fetches.put(lit.serving_root, each.drvs["native.package"])
    answer = graph(lit, each, "native.package")
    assert answer.result.status is BuildStatus.BUILT
    assert server.systems("graph") == [HERE]
    assert text(lit, each, "native.package") == server.contents("graph")
    assert "source-graph: made as its hash demands" in answer.said
    assert "package-graph: built under emulation" in answer.said


def test_one_below_a_native_build_is_not_emulated(
    dark: Shim, every: dict[str, Fetched], server: Server
) -> None:
    each = every["image"]
    fetches.put(dark.serving_root, each.drvs["here.image"])
    answer = graph(dark, each, "here.image")
    assert answer.result.status is BuildStatus.BUILT
    assert server.systems("image") == [HERE]
    assert text(dark, each, "here.image") == server.contents("image")


def test_what_the_nix_daemon_fetches_itself_needs_nobody(
    dark: Shim, every: dict[str, Fetched], server: Server
) -> None:
    answer = flat(dark, every["builtin"], "native.builtin")
    assert answer.result.status is BuildStatus.BUILT
    assert server.systems("builtin") == [NATIVE]
    assert "`builtin:fetchurl` is the nix-daemon" in answer.log


def test_it_is_fetched_once_for_all_who_want_it(
    dark: Shim, every: dict[str, Fetched], server: Server
) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: flat(dark, every["once"], "native.source"), range(4)))
    assert all(answer.result.is_success for answer in answers)
    assert server.systems("once") == [HERE]


def test_a_missing_path_is_ensured_so(
    dark: Shim, every: dict[str, Fetched], server: Server
) -> None:
    each = every["path"]
    fetches.put(dark.serving_root, each.drvs["native.source"])
    with Talker(dark) as talker:
        assert talker.ask(EnsurePath(each.out("native.source"))) is None
    assert server.systems("path") == [HERE]
    assert dark.serves(each.out("native.source"))


def test_if_the_counterpart_fails_the_next_one_is_tried_and_it_is_said(
    lit: Shim, every: dict[str, Fetched], server: Server
) -> None:
    server.refuses.add(("fallback", HERE))
    answer = flat(lit, every["fallback"], "native.source")
    assert answer.result.status is BuildStatus.BUILT
    assert server.systems("fallback") == [HERE, NATIVE]
    assert "source-fallback: fixed-output failed" in answer.said
    assert "(download, transient)" in answer.said
    assert "source-fallback: built under emulation" in answer.said
    store, out = f"local?root={lit.serving_root}", every["fallback"].out("native.source")
    shown = world.run(["nix", "path-info", "--sigs", "--store", store, out]).stdout
    assert "emulated" not in shown, "what proves itself needs no signature"


def test_what_has_another_hash_is_nobodys(
    lit: Shim, every: dict[str, Fetched], server: Server
) -> None:
    server.forges.add("forged")
    answer = flat(lit, every["forged"], "native.source")
    assert not answer.result.is_success
    assert answer.result.status is BuildStatus.OUTPUT_REJECTED
    assert answer.result.error_message.count("hash mismatch") == 2
    assert answer.result.error_message.count("(hash, permanent)") == 2
    assert server.systems("forged") == [HERE, NATIVE]
    assert not lit.serves(every["forged"].out("native.source"))


def test_what_nobody_makes_here_is_declined_with_reasons(
    dark: Shim, every: dict[str, Fetched], server: Server
) -> None:
    answer = flat(dark, every["unknown"], "native.source")
    assert not answer.result.is_success
    for reason in (
        "fixed-output: no table knows a derivation that makes it on this machine, and the store",
        "cross: its hash decides what it is",
        "emulate: ",
    ):
        assert reason in answer.result.error_message
        assert reason in answer.said
    assert server.systems("unknown") == []


def test_the_stores_own_derivation_does_where_no_table_has_one(
    dark: Shim, every: dict[str, Fetched], server: Server
) -> None:
    fetches.put(dark.serving_root, every["stored"].drvs["here.source"])
    answer = flat(dark, every["stored"], "native.source")
    assert answer.result.status is BuildStatus.BUILT
    assert server.systems("stored") == [HERE]
    assert "fixed-output: the store has" in answer.log


@pytest.mark.parametrize("tabled", [False, True])
def test_only_what_a_table_has_gets_anything_from_the_store_of_the_tables(
    tabled: bool, every: dict[str, Fetched], server: Server, tmp_path: Path
) -> None:
    each = every["tabled" if tabled else "untabled"]
    evaluated, root = tmp_path / "evaluated", tmp_path / "shim" / "serve"
    for store in (evaluated, root):
        fetches.put(store, each.drvs["here.nosy"])
    private = each.out("here.private").lstrip("/")
    world.run(["nix-store", "--store", f"local?root={evaluated}", "-r", each.drvs["here.private"]])
    tables = [fetches.table(tmp_path / "table", [each], "source", "nosy")] if tabled else []
    more = f'[evaluation]\nroot = "{evaluated}"'
    with Shim(tmp_path / "shim", tables=tables, cross=False, more=more) as shim:
        answer = flat(shim, each, "native.source")
    assert answer.result.is_success, answer.said
    assert server.systems(each.name) == [HERE]
    same = (evaluated / private).read_bytes() == (root / private).read_bytes()
    assert same is tabled


def test_where_boards_are_not_believed_only_tables_are_asked(
    dark: Shim, every: dict[str, Fetched], server: Server
) -> None:
    fetches.put(dark.base / "strict", every["strict"].drvs["here.source"])
    answer = flat(dark, every["strict"], "native.source", peer="stranger")
    assert not answer.result.is_success
    assert "and the store" not in answer.result.error_message
    assert server.systems("strict") == []


def test_what_would_be_built_is_told_like_that(lit: Shim, every: dict[str, Fetched]) -> None:
    each = every["missing"]
    fetches.put(lit.serving_root, each.drvs["native.package"])
    package = Built(each.drvs["native.package"], ALL_OUTPUTS)
    with Talker(lit) as talker:
        missing = talker.ask(QueryMissing((package,)))
        assert missing.will_build == {each.drvs["native.package"], each.drvs["native.source"]}
        talker.ask(BuildPathsWithResults((Built(each.drvs["native.source"], ALL_OUTPUTS),)))
    with Talker(lit) as talker:
        missing = talker.ask(QueryMissing((package,)))
        assert missing.will_build == {each.drvs["native.package"]}


@pytest.mark.parametrize("running", [True, False], ids=["asked of it", "without it"])
def test_a_daemon_explains_what_it_would_do(
    running: bool,
    dark: Shim,
    every: dict[str, Fetched],
    tmp_path: Path,
) -> None:
    config = dark.base / "shim.toml"
    if not running:
        config = tmp_path / "other.toml"
        text = (dark.base / "shim.toml").read_text()
        config.write_text(text.replace("shim.sock", "nobody.sock"))
    drv = every["asked"].drvs["native.source"]
    shown = world.run(
        [world.SHIM, "explain", drv, "--json", "--peer", "attic", "--config", config]
    ).stdout
    found = json.loads(shown)
    assert found["judged"]
    assert found["steps"][0]["strategy"] == "fixed-output"
    assert found["steps"][0]["counterpart"] == every["asked"].drvs["here.source"]


def test_the_history_names_the_strategy(
    dark: Shim, every: dict[str, Fetched], server: Server
) -> None:
    each = every["told"]
    flat(dark, each, "native.source")
    config = dark.base / "shim.toml"
    shown = world.run([world.SHIM, "history", "--config", config, "--json"]).stdout
    rows = [json.loads(line) for line in shown.splitlines()]
    (row,) = [row for row in rows if row["derivation"] == each.drvs["native.source"]]
    assert (row["strategy"], row["outcome"], row["grade"]) == ("fixed-output", "ok", None)
    assert server.systems("told") == [HERE]


@pytest.mark.parametrize(
    ("name", "suite", "version"),
    [("daemon2", "trixie", "2.26"), pytest.param("daemon3", "sid", "2.3", marks=pytest.mark.long)],
)
def test_every_nix_daemon_takes_the_recipe_from_where_the_tables_are(
    name: str,
    suite: str,
    version: str,
    table: Path,
    every: dict[str, Fetched],
    server: Server,
    tmp_path: Path,
) -> None:
    if not (world.CACHE / "roots" / suite / ".complete").exists():
        pytest.skip(f"there is no tree of {suite}: scripts/fetch-nix {suite}")
    program = tmp_path / "program"
    enter = f"{world.ROOT}/scripts/in-root --bind {tmp_path} {suite}"
    program.write_text(f'#!/bin/sh\nNIX_SHIM_CACHE={world.CACHE} exec {enter} nix-daemon "$@"\n')
    program.chmod(0o755)
    fetches.put(tmp_path / "evaluated", every[name].drvs["here.source"])
    with Shim(
        tmp_path / "shim",
        tables=[table],
        cross=False,
        serving_more=f'program = "{program}"',
        more=f'[evaluation]\nroot = "{tmp_path}/evaluated"',
    ) as shim:
        with Talker(shim) as talker:
            assert talker.version.startswith(version)
        answer = flat(shim, every[name], "native.source")
    assert answer.result.status is BuildStatus.BUILT, answer.said
    assert server.systems(name) == [HERE]


def test_one_store_for_everything_will_do(
    table: Path, every: dict[str, Fetched], server: Server, tmp_path: Path
) -> None:
    each, root = every["same"], tmp_path / "shim" / "serve"
    fetches.put(root, each.drvs["here.source"])
    more = f'[evaluation]\nroot = "{root}"'
    with Shim(tmp_path / "shim", tables=[table], cross=False, more=more) as shim:
        answer = flat(shim, each, "native.source")
    assert answer.result.status is BuildStatus.BUILT, answer.said
    assert "fixed-output: a table has" in answer.log
    assert server.systems("same") == [HERE]
