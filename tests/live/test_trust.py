"""Who may do what: every operation by operator and peer, uploads, claims, domains and policy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from protocol.errors import LocalProtocolError
from protocol.store.addressing import make_store_path
from protocol.store.build_result import BuildStatus
from protocol.store.content_address import Method
from protocol.store.derivation import BasicDerivation, InputAddressed
from protocol.store.derived_path import ALL_OUTPUTS, Built
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.realisation import DrvOutput, Realisation
from protocol.store.signing import SecretKey
from protocol.wire.operation import Request
from protocol.worker import messages as m
from protocol.worker.handshake import Trust
from tests.live import talking, world
from tests.live.conftest import Pair
from tests.live.talking import Hung, Refused, Sayings, Talker, Thing
from tests.live.world import Shim


@pytest.fixture(scope="module")
def sayings(tmp_path_factory: pytest.TempPathFactory) -> Sayings:
    return talking.make(tmp_path_factory.mktemp("sayings"))


KEY: Final = SecretKey.generate("trusted-1")

DOMAINS: Final = """
[domains.strict]
uploads = "rederive"
[domains.strict.serving]
root = "{base}/strict"
settings = {{ extra-trusted-public-keys = "{key}" }}

[peers.stranger]
domain = "strict"

[peers.narrow]
systems = ["armv7l-linux"]

[peers.single]
sessions = 1
"""


@pytest.fixture(scope="module")
def shim(sayings: Sayings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    """One shim with two domains, for everything that leaves no trace that matters to others."""
    base = tmp_path_factory.mktemp("trust")
    running = Shim(
        base,
        cross=False,
        systems=("aarch64-linux", "armv7l-linux"),
        more=DOMAINS.format(base=base, key=KEY.public().render()),
    )
    sayings.put(running.serving_root, ["plain", "other", "here"])
    with running:
        with Talker(running, peer=None) as operator:
            operator.ask(m.BuildPaths((Built(sayings.drvs["plain"], ALL_OUTPUTS),)))
        yield running


@dataclass(frozen=True)
class Row:
    """An operation, and what operator and peer get: an error's text, or nothing if it succeeds."""

    ask: Callable[[Sayings], Request[Any]]
    operator: str = ""
    peer: str = ""
    body: bytes = b""


NO: Final = "not for boards"
NO_CA: Final = "ca-derivations"
"""The nix-daemon's own word: the experimental feature is off."""
HUNG: Final = "closed the connection"
"""What Nix 2.8 does for the same reason when it is asked for a realisation."""


def plain(sayings: Sayings) -> StorePath:
    """A valid path."""
    return sayings.out("plain")


def built(sayings: Sayings) -> tuple[Built]:
    """Asks for a valid path by its derivation."""
    return (Built(sayings.drvs["plain"], ALL_OUTPUTS),)


def realisation(sayings: Sayings) -> Realisation:
    return Realisation(DrvOutput.of(Hash.of(b"x"), "out"), plain(sayings))


NAR: Final = talking.file_nar(b"some text")
UPLOAD: Final = talking.proven("upload", b"uploaded")

OPERATIONS: Final = {
    "AddBuildLog": Row(lambda s: m.AddBuildLog(s.drvs["plain"]), peer=NO, body=b"a log"),
    "AddIndirectRoot": Row(lambda _: m.AddIndirectRoot("/nowhere/link"), peer=NO),
    "AddMultipleToStore": Row(lambda _: m.AddMultipleToStore(), body=bytes(8)),
    "AddPermRoot": Row(
        lambda s: m.AddPermRoot(plain(s), "/nowhere/link"), operator="does not exist", peer=NO
    ),
    "AddSignatures": Row(
        lambda s: m.AddSignatures(plain(s), frozenset({KEY.sign("no fingerprint")})), peer=NO
    ),
    "AddTempRoot": Row(lambda s: m.AddTempRoot(plain(s))),
    "AddTextToStore": Row(lambda _: m.AddTextToStore("text", "some text")),
    "AddToStore": Row(lambda _: m.AddToStore("tree", m.Addressing(Method.NAR)), body=NAR),
    "AddToStoreNar": Row(lambda _: m.AddToStoreNar(UPLOAD.path, UPLOAD.info), body=UPLOAD.nar),
    "BuildDerivation": Row(lambda s: m.BuildDerivation(s.drvs["plain"], s.flat("plain"))),
    "BuildPaths": Row(lambda s: m.BuildPaths(built(s))),
    "BuildPathsWithResults": Row(lambda s: m.BuildPathsWithResults(built(s))),
    "CollectGarbage": Row(lambda _: m.CollectGarbage(m.GcAction.RETURN_DEAD), peer=NO),
    "EnsurePath": Row(lambda s: m.EnsurePath(plain(s))),
    "ExportPath": Row(lambda s: m.ExportPath(plain(s))),
    "FindRoots": Row(lambda _: m.FindRoots(), peer=NO),
    "HasSubstitutes": Row(lambda s: m.HasSubstitutes(plain(s))),
    "ImportPaths": Row(lambda _: m.ImportPaths(), peer=NO, body=bytes(8)),
    "IsValidPath": Row(lambda s: m.IsValidPath(plain(s))),
    "NarFromPath": Row(lambda s: m.NarFromPath(plain(s))),
    "OptimiseStore": Row(lambda _: m.OptimiseStore(), peer=NO),
    "QueryAllValidPaths": Row(lambda _: m.QueryAllValidPaths()),
    "QueryDerivationOutputMap": Row(lambda s: m.QueryDerivationOutputMap(s.drvs["plain"])),
    "QueryDerivationOutputNames": Row(lambda s: m.QueryDerivationOutputNames(s.drvs["plain"])),
    "QueryDerivationOutputs": Row(lambda s: m.QueryDerivationOutputs(s.drvs["plain"])),
    "QueryDeriver": Row(lambda s: m.QueryDeriver(plain(s))),
    "QueryMissing": Row(lambda s: m.QueryMissing(built(s))),
    "QueryPathFromHashPart": Row(lambda s: m.QueryPathFromHashPart(plain(s).digest)),
    "QueryPathHash": Row(lambda s: m.QueryPathHash(plain(s))),
    "QueryPathInfo": Row(lambda s: m.QueryPathInfo(plain(s))),
    "QueryRealisation": Row(
        lambda s: m.QueryRealisation(realisation(s).id), operator=HUNG, peer=HUNG
    ),
    "QueryReferences": Row(lambda s: m.QueryReferences(plain(s))),
    "QueryReferrers": Row(lambda s: m.QueryReferrers(plain(s))),
    "QuerySubstitutablePathInfo": Row(lambda s: m.QuerySubstitutablePathInfo(plain(s))),
    "QuerySubstitutablePathInfos": Row(lambda s: m.QuerySubstitutablePathInfos({plain(s): None})),
    "QuerySubstitutablePaths": Row(lambda s: m.QuerySubstitutablePaths(frozenset({plain(s)}))),
    "QueryValidDerivers": Row(lambda s: m.QueryValidDerivers(plain(s))),
    "QueryValidPaths": Row(lambda s: m.QueryValidPaths(frozenset({plain(s)}))),
    "RegisterDrvOutput": Row(
        lambda s: m.RegisterDrvOutput(realisation(s)), operator=NO_CA, peer=NO
    ),
    "SetOptions": Row(lambda _: m.SetOptions()),
    "SyncWithGC": Row(lambda _: m.SyncWithGC()),
    "VerifyStore": Row(lambda _: m.VerifyStore(check_contents=False), peer=NO),
}

NOT_SENT: Final = {"AddToStoreScanning", "SubmitOutput", "ClearFailedPaths", "QueryFailedPaths"}
"""Those within builds of 2.36 only, and those that were gone before 2.3."""


def test_the_table_has_every_operation() -> None:
    every = {
        each.operation.name for name in m.__all__ if hasattr(each := getattr(m, name), "operation")
    }
    assert OPERATIONS.keys() == every - NOT_SENT


def outcome(shim: Shim, peer: str | None, row: Row, sayings: Sayings) -> str:
    """The error's text; empty if there is none.  The connection goes on unless Nix ends it."""
    with Talker(shim, peer) as talker:
        try:
            talker.ask(row.ask(sayings), row.body)
        except Refused as refused:
            return str(refused)
        except LocalProtocolError as error:
            return str(error)
        except Hung:
            return HUNG
        assert talker.ask(m.IsValidPath(plain(sayings)))
        return ""


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_what_an_operator_gets(name: str, shim: Shim, sayings: Sayings) -> None:
    row = OPERATIONS[name]
    found = outcome(shim, None, row, sayings)
    assert row.operator in found
    assert bool(found) == bool(row.operator)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_what_a_peer_gets(name: str, shim: Shim, sayings: Sayings) -> None:
    row = OPERATIONS[name]
    found = outcome(shim, "attic", row, sayings)
    assert row.peer in found
    assert bool(found) == bool(row.peer)


def test_operators_are_trusted_and_peers_are_not(shim: Shim) -> None:
    with Talker(shim) as peer:
        assert peer.trust is Trust.NOT_TRUSTED
    with Talker(shim, peer=None) as operator:
        assert operator.trust in {Trust.TRUSTED, Trust.UNKNOWN}  # 2.8 does not say


# -- uploads and claims


def unsigned(name: str) -> Thing:
    """A path that only a derivation could prove."""
    path = make_store_path("output:out", Hash.of(name.encode()), name)
    return talking.claimed(path, name.encode())


def signed(thing: Thing) -> Thing:
    return thing.saying(signatures=frozenset({KEY.sign(thing.info.fingerprint(thing.path))}))


def test_in_the_default_domain_boards_trust_each_other(shim: Shim) -> None:
    thing = unsigned("trusted")
    with Talker(shim) as talker:
        talker.upload(thing)
        found = talker.ask(m.QueryPathInfo(thing.path))
        assert not found.ultimate
        assert talker.ask(m.NarFromPath(thing.path)) == thing.nar


def test_a_path_that_is_there_by_then_disturbs_no_others(shim: Shim) -> None:
    """As when two boards send the same; Nix 2.8 by itself would lose its place there."""
    things = [unsigned(f"several-{number}") for number in range(300)]
    with Talker(shim) as talker:
        talker.upload(things[150], things[299])
        talker.upload(*things)
        wanted = frozenset(each.path for each in things)
        assert talker.ask(m.QueryValidPaths(wanted)) == wanted
        for each in (things[149], things[151]):
            assert talker.ask(m.NarFromPath(each.path)) == each.nar


def test_a_strict_domain_drops_what_proves_nothing(shim: Shim) -> None:
    nothing, proof = unsigned("nothing"), talking.proven("proof", b"proof")
    key = signed(unsigned("signed"))
    above = signed(unsigned("above").saying(references=frozenset({nothing.path})))
    with Talker(shim, "stranger") as talker:
        talker.upload(nothing, proof, key, above)
        wanted = frozenset(each.path for each in (nothing, proof, key, above))
        assert talker.ask(m.QueryValidPaths(wanted)) == {proof.path, key.path}
        request = m.AddToStoreNar(nothing.path, nothing.info, dont_check_signatures=True)
        assert talker.ask(request, nothing.nar) is None
        assert not talker.ask(m.IsValidPath(nothing.path))


def test_a_strict_domain_believes_no_strangers_key(shim: Shim) -> None:
    other = SecretKey.generate("trusted-1")
    thing = unsigned("forged")
    thing = thing.saying(signatures=frozenset({other.sign(thing.info.fingerprint(thing.path))}))
    with Talker(shim, "stranger") as talker:
        talker.upload(thing)
        assert not talker.ask(m.IsValidPath(thing.path))


def test_what_a_strict_domain_dropped_is_made_anew_from_its_graph(
    shim: Shim, sayings: Sayings
) -> None:
    lie = talking.claimed(sayings.out("plain"), b"not what it says\n")
    with Talker(shim, "stranger") as talker:
        talker.upload(lie)
        talker.upload(*sayings.graph("upper"))
        request = m.BuildPathsWithResults((Built(sayings.drvs["upper"], ALL_OUTPUTS),))
        ((_, result),) = talker.ask(request)
        assert result.status is BuildStatus.BUILT
        assert talker.ask(m.NarFromPath(sayings.out("plain"))) == talking.file_nar(b"plain\n")


def test_where_nothing_can_be_made_anew_path_and_remedy_are_named(
    shim: Shim, sayings: Sayings
) -> None:
    flat = sayings.flat("upper")
    flat = replace(flat, input_sources=flat.input_sources | {sayings.out("other")})
    with Talker(shim, "stranger") as talker:
        talker.upload(talking.claimed(sayings.out("other"), b"other"))
        result = talker.ask(m.BuildDerivation(strange(sayings.drvs["upper"]), named(flat)))
        assert result.status is BuildStatus.INPUT_REJECTED
        assert sayings.out("other") in result.error_message
        assert "sign them" in result.error_message
        assert "ssh-ng" in result.error_message
        assert result.error_message in "".join(talker.said)


def strange(path: StorePath) -> StorePath:
    """A `.drv` path that nobody knows."""
    return StorePath.parse(f"/nix/store/{'1' * 32}-{path.name}")


def named(flat: BasicDerivation) -> BasicDerivation:
    """The recipe with outputs that nobody knows."""
    outputs = {
        name: InputAddressed(StorePath.parse(f"/nix/store/{'2' * 32}-{path.name}"))
        for name, path in flat.output_paths().items()
    }
    env = {**flat.env, **{name: each.path for name, each in outputs.items()}}
    return replace(flat, outputs=outputs, env=env)


# -- domains


def test_domains_see_nothing_of_each_other(shim: Shim, sayings: Sayings) -> None:
    secret = unsigned("secret")
    with Talker(shim) as here, Talker(shim, "stranger") as there:
        here.upload(secret)
        assert not there.ask(m.IsValidPath(secret.path))
        assert there.ask(m.QueryPathInfo(secret.path)) is None
        assert secret.path not in there.ask(m.QueryAllValidPaths())
        assert there.ask(m.QueryPathFromHashPart(secret.path.digest)) is None
        with pytest.raises(Refused, match="is not valid"):
            there.ask(m.NarFromPath(secret.path))
    assert not shim.base.joinpath("strict", secret.path.lstrip("/")).exists()
    assert shim.serves(sayings.out("plain"))


def test_what_is_signed_may_go_from_one_domain_to_another(shim: Shim) -> None:
    thing = signed(unsigned("shared"))
    with Talker(shim) as here, Talker(shim, "stranger") as there:
        here.upload(thing)
        found = here.ask(m.QueryPathInfo(thing.path))
        there.upload(Thing(thing.path, found, here.ask(m.NarFromPath(thing.path))))
        assert there.ask(m.IsValidPath(thing.path))


# -- systems, sessions


def test_a_peer_asks_for_its_own_systems_only(shim: Shim, sayings: Sayings) -> None:
    with Talker(shim, "narrow") as talker:
        flat = talker.ask(m.BuildDerivation(sayings.drvs["other"], sayings.flat("other")))
        asked = (
            Built(sayings.drvs["other"], ALL_OUTPUTS),
            Built(sayings.drvs["here"], ALL_OUTPUTS),
        )
        ((_, graph),) = talker.ask(m.BuildPathsWithResults(asked[:1]))
        for result in (flat, graph):
            assert result.status is BuildStatus.INPUT_REJECTED
            assert "armv7l-linux (peers.narrow.systems)" in result.error_message
        assert talker.ask(m.BuildPaths(asked[1:])) is None


def test_one_peer_has_so_many_connections(shim: Shim) -> None:
    with Talker(shim, "single"):
        with pytest.raises(Refused, match=r"peers\.single\.sessions"):
            Talker(shim, "single")
        with Talker(shim, "attic") as other:
            assert other.trust is Trust.NOT_TRUSTED


# -- policy


def test_a_plant_is_missing_less_than_emulation(
    package: Callable[[str], Pair], make_shim: Callable[..., Shim]
) -> None:
    pigz = package("pigz")
    shim = make_shim(pigz, more='[[rules]]\npeers = ["careful"]\ncross = false\n')
    to = ["--no-check-sigs", "--to", f"local?root={shim.serving_root}"]
    world.run(["nix", "copy", "--derivation", *to, pigz.native])
    asked = m.QueryMissing((Built(StorePath.parse(pigz.native), ALL_OUTPUTS),))
    with Talker(shim, "careful") as careful, Talker(shim, "attic") as bold:
        emulated, planted = careful.ask(asked), bold.ask(asked)
    # A plant needs the native libraries, and no native compiler.
    assert pigz.native in planted.will_build < emulated.will_build
    assert any("zlib" in drv.name for drv in planted.will_build)
    compilers = {drv for drv in emulated.will_build if "gcc-wrapper" in drv.name}
    assert compilers
    assert not compilers & planted.will_build


def test_policy_is_per_peer_and_package(
    package: Callable[[str], Pair], make_shim: Callable[..., Shim]
) -> None:
    pigz = package("pigz")
    shim = make_shim(
        pigz,
        more='[[rules]]\npeers = ["careful"]\ncross = false\nemulate = false\n'
        '[[rules]]\npeers = ["careful"]\npackages = ["words-*"]\nemulate = true\n',
    )
    drv = StorePath.parse(pigz.native)
    world.run(
        [
            *("nix", "copy", "--no-check-sigs", "--derivation"),
            *("--to", f"local?root={shim.serving_root}", pigz.native),
        ]
    )
    world.run(
        ["nix", "copy", "--no-check-sigs", "--to", f"local?root={shim.serving_root}", *pigz.inputs]
    )
    asked = m.BuildPathsWithResults((Built(drv, ALL_OUTPUTS),))
    with Talker(shim, "careful") as careful, Talker(shim, "attic") as bold:
        assert bold.ask(m.QueryMissing(asked.paths)).will_build == {drv}
        assert careful.ask(m.QueryMissing(asked.paths)).unknown == {drv}
        ((_, before),) = careful.ask(asked)
        assert "policy.cross is off" in before.error_message
        ((_, made),) = bold.ask(asked)
        assert made.status is BuildStatus.BUILT
        # It is in the store now, but made in a way that this peer's policy does not admit.
        ((_, after),) = careful.ask(asked)
        assert after.status is BuildStatus.OUTPUT_REJECTED
        assert "policy.cross is off" in after.error_message
        assert "domain of its own" in "".join(careful.said)
        with pytest.raises(Refused, match="cross-compiled"):
            careful.ask(m.NarFromPath(StorePath.parse(pigz.out)))
        assert bold.ask(m.NarFromPath(StorePath.parse(pigz.out)))
