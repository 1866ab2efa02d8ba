from pathlib import Path

import pytest

from shim import config
from shim.equivalence.grades import DifferenceClass, Grade
from shim.errors import ExitCode, ShimError
from shim.gates.rules import Override
from shim.gates.shipped import SHIPPED
from shim.gates.verdict import Severity

MINIMAL = """
[serving]
root = "/srv/serve"
[plant]
root = "/srv/plant"
"""


def test_two_roots_are_enough() -> None:
    loaded = config.parse(MINIMAL)
    assert loaded.serving.root == Path("/srv/serve")
    assert loaded.plant is not None
    assert loaded.plant.start
    assert loaded.systems == ("aarch64-linux",)


def test_cross_is_off_until_said() -> None:
    assert not config.parse(MINIMAL).policy.cross


def test_names_of_grades_and_classes_are_read() -> None:
    loaded = config.parse(
        MINIMAL + '[policy]\nleast-grade = "verified"\nworst-difference = "benign"\n'
    )
    assert loaded.policy.least_grade is Grade.VERIFIED
    assert loaded.policy.worst_difference is DifferenceClass.BENIGN


GATES = """
[[gates.overrides]]
rule = "leaks.*"
severity = "note"
reason = "meant so"
name = "gcc-*"
[gates]
scratch = "/var/tmp"
limits.depth = 3
"""


def test_gates_are_set_up_by_their_table() -> None:
    gates = config.parse(MINIMAL + GATES).gates
    assert gates.overrides == (
        *SHIPPED,
        Override("leaks.*", Severity.NOTE, "meant so", name="gcc-*"),
    )
    assert gates.limits.depth == 3
    assert gates.scratch == Path("/var/tmp")
    assert config.parse(MINIMAL).gates.overrides == SHIPPED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gates = 7\n" + MINIMAL, "gates: `7` is no table"),
        (MINIMAL + "[gates]\nlimits.depht = 3\n", "unknown field: `depht`"),
        (MINIMAL + '[gates]\nscratch = 3\n[policy]\nleast-grade = "best"\n', "gates.scratch"),
        (MINIMAL + '[gates]\nscratch = 3\n[policy]\nleast-grade = "best"\n', "least-grade"),
        (
            MINIMAL + '[[gates.overrides]]\nrule = "no.such"\nseverity = "note"\nreason = "x"\n',
            "fits no rule: `no.such`",
        ),
    ],
)
def test_mistakes_in_the_gates_table_are_reported_like_others(text: str, expected: str) -> None:
    with pytest.raises(ShimError) as caught:
        config.parse(text)
    assert caught.value.code is ExitCode.CONFIG
    assert expected in str(caught.value)


def test_every_mistake_is_reported_with_its_key() -> None:
    text = """
sockett = "/run/x"
systems = [7]
[serving]
root = "relative"
[plant]
root = "/srv/plant"
start = "yes"
[deadlines]
idle = -1
[policy]
least-grade = "best"
"""
    with pytest.raises(ShimError) as caught:
        config.parse(text, source="shim.toml")
    said = str(caught.value)
    assert caught.value.code is ExitCode.CONFIG
    for expected in (
        "shim.toml",
        "sockett",
        "systems",
        "serving.root",
        "plant.start",
        "deadlines.idle",
        "policy.least-grade",
        "`best` is none of declared, checked, verified, identical",
    ):
        assert expected in said, said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[serving", "not TOML"),
        ('[plant]\nroot = "/p"\n', "serving"),
        ('[serving]\nroot = "/s"\n[plant]\nroot = "/s"\n', "plant.root: `/s` is that of serving"),
        ('[serving]\nroot = "/s"\nstart = false\n[plant]\nroot = "/p"\n', "serving.socket"),
        (MINIMAL + "[policy]\ncross = true\n", "no table is named"),
        (MINIMAL + '[gates]\nscratch = "tmp"\n', "gates.scratch: `tmp` is no absolute path"),
        ('store-dir = "nix"\n' + MINIMAL, "store-dir"),
        ('tables = ["/t"]\n[serving]\nroot = "/s"\n[policy]\ncross = true\n', "plant: required"),
        (
            'tables = ["/t"]\n[serving]\nroot = "/s"\n[[rules]]\ncross = true\n',
            "plant: required",
        ),
        (MINIMAL + '[domains.two.serving]\nroot = "/srv/serve"\n', "is that of serving"),
        (MINIMAL + '[domains.default.serving]\nroot = "/x"\n', "domains.default"),
        (MINIMAL + '[peers."a/b"]\n', "peers.a/b"),
        (MINIMAL + '[peers.pi]\ndomain = "two"\n', "there is no domain `two`"),
        (MINIMAL + '[peers.pi]\nsystems = ["riscv64-linux"]\n', "is not among systems"),
        (
            MINIMAL + '[peers.a]\nkeys = ["t k a"]\n[peers.b]\nkeys = ["t k b"]\n',
            "is a key of peers.a",
        ),
        (MINIMAL + "[limits]\nby-system.riscv64-linux = 0\n", "limits.by-system.riscv64-linux"),
        (MINIMAL + "[gateway]\nport = 70000\n", "gateway.port: `70000` is no TCP port"),
        (MINIMAL + '[domains.two]\nuploads = "some"\nserving.root = "/x"\n', "`some` is none of"),
    ],
)
def test_what_cannot_work_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ShimError, match="configuration") as caught:
        config.parse(text)
    assert expected in str(caught.value)


def test_sources_of_tables_are_named_after_files() -> None:
    loaded = config.parse(MINIMAL + '[sources.attic]\nscan = ["--flake", "x#y"]\n')
    assert loaded.sources["attic"].scan == ("--flake", "x#y")
    assert loaded.table_of("attic").name == "attic.table"
    with pytest.raises(ShimError, match=r"sources\.\.\./x"):
        config.parse(MINIMAL + '[sources."../x"]\nscan = []\n')


def test_platforms_are_laid_over_those_we_know() -> None:
    text = MINIMAL + "[platforms.aarch64-linux]\npage-sizes = [65536]\nelf.machine = 183\n"
    loaded = config.parse(text)
    assert loaded.platforms["aarch64-linux"].page_sizes == (65536,)
    assert loaded.platforms["riscv64-linux"] == config.parse(MINIMAL).platforms["riscv64-linux"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[platforms.x-linux]\ncross = 'x'\n", "`platforms.x-linux` lacks `triple`"),
        ("[platforms.aarch64-linux]\ntripel = 'x'\n", "unknown field: `tripel`"),
        ("[platforms]\naarch64-linux = 3\n", "is no table of tables"),
    ],
)
def test_a_mistake_in_a_platform_is_reported_like_others(text: str, expected: str) -> None:
    with pytest.raises(ShimError) as caught:
        config.parse(MINIMAL + text)
    assert caught.value.code is ExitCode.CONFIG
    assert expected in str(caught.value)


def test_the_top_level_stores_are_those_of_the_default_domain() -> None:
    loaded = config.parse(
        MINIMAL + '[domains.lab]\nuploads = "rederive"\nserving.root = "/srv/lab"\n'
        '[peers.pi]\ndomain = "lab"\n'
    )
    domains = loaded.all_domains()
    assert list(domains) == ["default", "lab"]
    assert domains["default"].serving is loaded.serving
    assert domains[loaded.peer("pi").domain].uploads is config.Uploads.REDERIVE
    assert loaded.peer("somebody").domain == "default"


def test_rules_change_only_what_they_name() -> None:
    (rule,) = config.parse(
        'tables = ["/t"]\n' + MINIMAL + '[[rules]]\npackages = ["linux-*"]\ncross = true\n'
    ).rules
    assert rule.packages == ("linux-*",)
    assert rule.cross is True
    assert rule.emulate is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShimError) as caught:
        config.load(tmp_path / "none.toml")
    assert "none.toml" in str(caught.value)


def test_the_reference_lists_every_key() -> None:
    keys = {each.key: each for each in config.reference()}
    assert {"socket", "serving.root", "deadlines.build-silence", "gates.limits.depth"} <= set(keys)
    assert keys["peers.NAME.domain"].default == '"default"'
    assert keys["rules[].cross"].kind == "true or false"
    assert "opt-in" in keys["policy.cross"].meaning
