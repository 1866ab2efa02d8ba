"""How strict and how patient the gates are: severity overrides per package, and limits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from shim.errors import ExitCode, ShimError
from shim.gates.rules import CRASHED, RULES, Override
from shim.gates.shipped import SHIPPED
from shim.gates.verdict import Severity

T = TypeVar("T")


class LimitError(Exception):
    """A result that the limits do not allow to look at any further."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the gates look before they give up; giving up is a finding that rejects.

    Attributes:
        depth: containers within containers.
        member: bytes of one uncompressed member.
        total: bytes of all uncompressed members of one result.
        ratio: uncompressed bytes for each compressed one, beyond the first `free` bytes.
        free: bytes a member may have whatever its ratio.
        entries: directory entries and members of one result.
        attempts: places in the middle of contents that look like a compressed stream and are tried.
        memory: bytes of a member held in memory; larger ones go to a file in `scratch`.
        lookups: files looked for while following paths of links, libraries and interpreters.
        findings: findings kept for each rule; more are counted.
    """

    depth: int = 8
    member: int = 4 << 30
    total: int = 16 << 30
    ratio: int = 2000
    free: int = 64 << 20
    entries: int = 2_000_000
    attempts: int = 10_000
    memory: int = 8 << 20
    lookups: int = 20_000_000
    findings: int = 50


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a configuration can say about the gates.

    Attributes:
        overrides: the last one that applies decides; those that ship with us come first.
        limits: see `Limits`.
        scratch: directory for large uncompressed members; the system's own when absent.
    """

    overrides: tuple[Override, ...] = SHIPPED
    limits: Limits = Limits()
    scratch: Path | None = None

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str = "gates") -> "Settings":
        """Settings as a configuration file gives them.

        Args:
            table: `overrides`, a list of tables with the fields of `Override`; `limits`, a table
                with fields of `Limits`; `scratch`, a path.  All may be absent.
            where: name of the table, for messages.

        Raises:
            ShimError: a field is unknown, missing or of the wrong kind, or a pattern over rules
                fits none.
        """
        _only(table, {"overrides", "limits", "scratch"}, where)
        rows = _typed(table, "overrides", list, where, [])
        limits = _typed(table, "limits", dict, where, {})
        scratch = _typed(table, "scratch", str, where, "")
        _only(limits, {field.name for field in fields(Limits)}, f"{where}.limits")
        for name in limits:
            if _typed(limits, name, int, f"{where}.limits", 0) < 1:
                raise _bad(f"`{where}.limits.{name}` must be at least 1")
        overrides = [
            _override(row, f"{where}.overrides[{index}]") for index, row in enumerate(rows)
        ]
        settings = cls(limits=Limits(**limits), scratch=Path(scratch) if scratch else None)
        return settings.with_overrides(overrides)

    def with_overrides(self, more: Iterable[Override]) -> "Settings":
        """These settings with further overrides, which win over the earlier ones."""
        return replace(self, overrides=(*self.overrides, *more))


_OVERRIDE_FIELDS = ("rule", "severity", "reason", "name", "path")


def _override(row: object, where: str) -> Override:
    if not isinstance(row, dict):
        raise _bad(f"`{where}` is no table")
    _only(row, set(_OVERRIDE_FIELDS), where)
    values = {name: _typed(row, name, str, where, "") for name in _OVERRIDE_FIELDS if name in row}
    if missing := [name for name in _OVERRIDE_FIELDS[:3] if not values.get(name)]:
        raise _bad(f"`{where}` lacks `{missing[0]}`")
    severities = {severity.name.lower(): severity for severity in Severity}
    severity = severities.get(values["severity"])
    if severity is None:
        raise _bad(
            f"`{where}.severity` cannot be `{values['severity']}`", f"use {', '.join(severities)}"
        )
    if not any(fnmatchcase(rule, values["rule"]) for rule in RULES if rule != CRASHED):
        raise _bad(
            f"`{where}.rule` fits no rule: `{values['rule']}`",
            f"`nix-shim gates rules` lists them; nothing changes `{CRASHED}`",
        )
    return Override(
        values["rule"],
        severity,
        values["reason"],
        values.get("name", "*"),
        values.get("path", "*"),
    )


def _only(table: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(table) - known):
        raise _bad(
            f"`{where}` has an unknown field: `{unknown[0]}`",
            f"fields are {', '.join(sorted(known))}",
        )


def _typed(table: Mapping[str, Any], name: str, kind: type[T], where: str, default: T) -> T:
    value = table.get(name, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _bad(f"`{where}.{name}` cannot be `{value!r}`", f"it must be of type {kind.__name__}")
    return value


def _bad(message: str, hint: str = "") -> ShimError:
    return ShimError(message, hint=hint, code=ExitCode.CONFIG)
