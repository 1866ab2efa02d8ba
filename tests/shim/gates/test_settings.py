import tomllib
from pathlib import Path

import pytest

from shim.errors import ExitCode, ShimError
from shim.gates.settings import Limits, Settings
from shim.gates.shipped import SHIPPED
from shim.gates.verdict import Severity

EXAMPLE = """
scratch = "/var/tmp"
limits.depth = 3

[[overrides]]
rule = "leaks.*"
severity = "note"
reason = "its compiler is meant to be called by its prefix"
name = "gcc-*"

[[overrides]]
rule = "shape.dangling"
severity = "error"
reason = "we want whole trees"
"""


def test_a_configuration_is_read() -> None:
    settings = Settings.from_table(tomllib.loads(EXAMPLE))
    assert settings.scratch == Path("/var/tmp")
    assert settings.limits == Limits(depth=3)
    assert settings.overrides[: len(SHIPPED)] == SHIPPED
    relaxed, strict = settings.overrides[len(SHIPPED) :]
    assert relaxed.applies("leaks.tool-prefix", "gcc-14.2.0", "out/bin/x-config")
    assert not relaxed.applies("leaks.tool-prefix", "zlib-1.3.1", "out/bin/x-config")
    assert strict.severity is Severity.ERROR
    assert strict.applies("shape.dangling", "any", "out/x")


def test_nothing_said_is_the_default() -> None:
    assert Settings.from_table({}) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth = 3", "`gates` has an unknown field: `depth`"),
        ("limits.deep = 3", "`gates.limits` has an unknown field: `deep`"),
        ("limits.depth = 0", "`gates.limits.depth` must be at least 1"),
        ('limits.depth = "3"', "`gates.limits.depth` cannot be `'3'`"),
        ("limits.depth = true", "`gates.limits.depth` cannot be `True`"),
        ("scratch = 3", "`gates.scratch` cannot be `3`"),
        ("overrides = [3]", "`gates.overrides[0]` is no table"),
        ('overrides = [{rule = "elf.*"}]', "`gates.overrides[0]` lacks `severity`"),
        (
            'overrides = [{rule = "elf.*", severity = "off", reason = "x"}]',
            "`gates.overrides[0].severity` cannot be `off`",
        ),
        (
            'overrides = [{rule = "elv.*", severity = "note", reason = "x"}]',
            "`gates.overrides[0].rule` fits no rule: `elv.*`",
        ),
        (
            'overrides = [{rule = "gate.*", severity = "note", reason = "x"}]',
            "nothing changes `gate.crashed`",
        ),
        (
            'overrides = [{rule = "elf.*", severity = "note", reason = "x", file = "x"}]',
            "`gates.overrides[0]` has an unknown field: `file`",
        ),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(ShimError) as caught:
        Settings.from_table(tomllib.loads(text))
    assert message in str(caught.value)
    assert caught.value.code is ExitCode.CONFIG
