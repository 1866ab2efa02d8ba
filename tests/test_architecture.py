"""Imports point inward: the rules of the layers, held by a test instead of a paragraph."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LOOPS = {"trio", "asyncio", "asyncssh", "anyio"}
OUTSIDE = {"socket", "subprocess", "selectors", "tempfile", "shutil", "sqlite3"}

FORBIDDEN: dict[str, set[str]] = {
    "protocol": {"shim", "os", "pathlib", "time", "random", *LOOPS, *OUTSIDE},
    "shim": {"asyncio", "asyncssh", "anyio"},
    "shim/session": {"time", "random", "os", *LOOPS, *OUTSIDE},
    "shim/plan": {"time", "random", "os", *LOOPS, *OUTSIDE},
    "shim/plant": {"time", "random", "os", *LOOPS, *OUTSIDE},
    "shim/equivalence": {"trio", "time", "random", "socket", "subprocess"},
    "shim/gates": {"trio", "socket", "subprocess"},
    "shim/daemon": {"shim.gateway", "asyncio", "asyncssh"},
    "shim/gateway": {"shim.daemon", "trio"},
}
"""Folder -> modules that nothing below it may import (a parent's name covers its children)."""

EXEMPT: dict[str, set[str]] = {"shim/gateway": {"asyncio", "asyncssh"}}
"""Folder -> what a rule of an outer folder forbids and this one exists for."""

THIRD_PARTY_IN_PROTOCOL = {"msgpack": "protocol/transcript", "cryptography": "protocol/store"}


def sources(folder: str) -> Iterator[Path]:
    yield from sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module


def covers(rule: str, name: str) -> bool:
    return name == rule or name.startswith(f"{rule}.")


def exempt(path: Path, rule: str) -> bool:
    relative = path.relative_to(ROOT).as_posix()
    return any(
        relative.startswith(f"{folder}/") and rule in rules for folder, rules in EXEMPT.items()
    )


def test_dependencies_point_inward() -> None:
    assert [
        f"{path.relative_to(ROOT)} imports {name}"
        for folder, rules in FORBIDDEN.items()
        for path in sources(folder)
        for name in imports(path)
        for rule in rules
        if covers(rule, name) and not exempt(path, rule)
    ] == []


def test_trio_stays_in_the_daemon() -> None:
    assert [
        path.relative_to(ROOT).as_posix()
        for path in sources("shim")
        if "trio" in set(imports(path))
        and not path.relative_to(ROOT).as_posix().startswith(("shim/daemon/", "shim/cli/serve"))
    ] == []


def test_protocol_needs_little() -> None:
    assert [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("protocol")
        for name in imports(path)
        for package, home in THIRD_PARTY_IN_PROTOCOL.items()
        if covers(package, name) and not path.relative_to(ROOT).as_posix().startswith(home)
    ] == []


def test_imports_are_absolute() -> None:
    assert [
        path.relative_to(ROOT).as_posix()
        for folder in ("protocol", "shim", "tests")
        for path in sources(folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ] == []
