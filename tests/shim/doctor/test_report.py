import json
from collections.abc import Iterator

from shim.doctor.report import OUR_MISTAKE, Finding, Level, dump, examine, fail, ok, warn, worst
from shim.errors import ShimError


def good(_: None) -> Iterator[Finding]:
    yield ok("well")
    yield warn("old", "renew it")


def bad(_: None) -> Iterator[Finding]:
    yield fail("gone", "bring it back")


def refused(_: None) -> Iterator[Finding]:
    raise ShimError("cannot", hint="do")


def broken(_: None) -> Iterator[Finding]:
    raise IndexError(3)


def test_one_check_that_breaks_hides_no_other() -> None:
    lines = list(examine([("a", broken), ("b", refused), ("c", good), ("d", bad)], None))
    assert [line.level for line in lines] == [
        *(Level.FAIL, Level.FAIL, Level.OK, Level.WARN, Level.FAIL)
    ]
    assert lines[0].fix == OUR_MISTAKE
    assert (lines[1].found, lines[1].fix) == ("cannot", "do")


def test_the_worst_line_is_the_exit_code() -> None:
    assert worst(examine([("c", good)], None)) == 1
    assert worst(examine([("c", good), ("d", bad)], None)) == 2
    assert worst([]) == 0


def test_json_has_every_line() -> None:
    lines = list(examine([("c", good)], None))
    assert json.loads(dump(lines))[1] == {
        "check": "c",
        "level": "warn",
        "found": "old",
        "fix": "renew it",
    }
