"""What tables are made of: pairs of Nix sets, one evaluated natively and one cross.

It writes Nix text and runs nothing.  The facts about NixOS's options are from nixpkgs'
`nixos/modules/misc/nixpkgs.nix`, about attribute paths from the Nix manual.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shim.errors import ExitCode, ShimError
from shim.systems import Systems

FLAKES: Final = ("--option", "extra-experimental-features", "flakes")

LIBRARY: Final = """\
  at = builtins.foldl' (set: name: set.${name} or (throw "there is no attribute `${name}`"));
  drv = value: if value.type or null == "derivation" then value.drvPath else null;
  tried = value: let got = builtins.tryEval value; in if got.success then got.value else false;
"""
"""Nix: an attribute by its path; the `.drv` of a value, or null; false for what throws."""

CALL: Final = "  call = value: given: if builtins.isFunction value then value given else value;\n"
"""Nix: a file's value, called if it is a function."""

SYSTEM_ATTRIBUTE: Final = ("config", "system", "build", "toplevel")
"""Where a NixOS configuration has the whole system."""

CONFIGURATIONS: Final = "nixosConfigurations"

_NAME: Final = re.compile(r'"([^"]*)"|([^."]+)')


@dataclass(frozen=True, slots=True)
class Source:
    """Two Nix expressions, each for a set in which attributes are looked up."""

    native: str
    cross: str
    label: str
    """What it is, for the record: never a path of one machine."""
    library: str = ""
    """Nix bindings that both use."""
    revision: str = '""'
    """Nix expression of its revision."""
    options: tuple[str, ...] = ()
    """Options of the Nix program."""


@dataclass(frozen=True, slots=True)
class Twin:
    """One attribute by its two paths."""

    name: str
    native: tuple[str, ...]
    cross: tuple[str, ...]


def quoted(text: str) -> str:
    """`text` as a Nix string."""
    return '"' + re.sub(r'["\\$]', r"\\\g<0>", text) + '"'


def words(attribute: Iterable[str]) -> str:
    """An attribute path as a Nix list of strings."""
    return "[ " + "".join(f"{quoted(name)} " for name in attribute) + "]"


def attribute_path(text: str) -> tuple[str, ...]:
    """An attribute path as Nix writes it, `a.b."c.d"`, taken apart.

    Raises:
        ShimError: it is none.
    """
    parts, at = [], 0
    while match := _NAME.match(text, at):
        parts.append(match[1] if match[1] is not None else match[2])
        at = match.end()
        if at == len(text):
            return tuple(parts)
        if text[at] != ".":
            break
        at += 1
    raise ShimError(f"not an attribute path: `{text}`", code=ExitCode.USAGE)


def arguments(given: Iterable[tuple[str, str]]) -> str:
    """Named strings as the set that a Nix function takes."""
    return "{ " + "".join(f"{quoted(name)} = {quoted(value)}; " for name, value in given) + "}"


def from_file(
    path: Path, native: Iterable[tuple[str, str]], cross: Iterable[tuple[str, str]]
) -> Source:
    """A Nix file, called with named strings of either side."""
    called = f"call (import {quoted(str(path.resolve()))})"
    return Source(
        native=f"{called} {arguments(native)}",
        cross=f"{called} {arguments(cross)}",
        label=path.name,
        library=CALL,
    )


def from_nixpkgs(path: Path, system: str, build_system: str) -> Source:
    """A package set like nixpkgs: it takes `system`, and has `pkgs` and `pkgsCross`."""
    called = f"call (import {quoted(str(path.resolve()))})"
    return Source(
        native=f"{called} {{ system = {quoted(system)}; }}",
        cross=f"{called} {{ system = {quoted(build_system)}; }}",
        label=path.name,
        library=CALL,
        revision='native.lib.version or ""',
    )


def from_flake(reference: str) -> Source:
    """A flake's outputs, both sides in the same set."""
    return Source(
        native="flake",
        cross="flake",
        label=_label(reference),
        library=_flake(reference),
        revision=REVISION,
        options=FLAKES,
    )


REVISION: Final = 'flake.rev or flake.dirtyRev or flake.narHash or ""'

NIXOS: Final = """\
  build = {build};
  configuration = at flake [ "nixosConfigurations" {name} ];
  host = if options.hostPlatform.isDefined or false
    then configuration.config.nixpkgs.hostPlatform
    else configuration.pkgs.stdenv.hostPlatform;
  force = content: {{ _type = "override"; priority = 50; inherit content; }};
  options = configuration.options.nixpkgs;
  isSet = name: (options.${{name}}.highestPrio or 1500) < 1500;
  own = configuration.config.nixpkgs.pkgs;
  crossing = {{ localSystem = {{ system = build; }}; crossSystem = host; }};
  platforms =
    if options.pkgs.isDefined or false
    then {{ pkgs = force (import own.path ({{ inherit (own) config overlays; }} // crossing)); }}
    else if !(options ? hostPlatform) || isSet "localSystem" || isSet "crossSystem"
    then builtins.mapAttrs (name: force) crossing
    else {{ hostPlatform = force host; buildPlatform = force build; }};
  crossed = configuration.extendModules {{ modules = [ {{ nixpkgs = platforms; }} ]; }};
  checked =
    let
      is = crossed.pkgs.stdenv;
      was = configuration.pkgs.stdenv.hostPlatform;
    in
    if is.hostPlatform.system == is.buildPlatform.system
    then throw "the result is not cross: it is built for and on ${{is.hostPlatform.system}}"
    else if is.hostPlatform.system != was.system
    then throw "cross it is for ${{is.hostPlatform.system}}, natively for ${{was.system}}"
    else if is.buildPlatform.system != build
    then throw "cross it is built on ${{is.buildPlatform.system}}, not on ${{build}}"
    else crossed;
"""
"""Nix: a configuration and the same with a build platform.

`nixpkgs.buildPlatform` is ignored where `nixpkgs.hostPlatform` is not set, so both are.  A
configuration that sets the older `localSystem` may not set them (NixOS asserts it), and gets the
older options.  One that brings its own package set ignores all of them: the set is imported anew.
1500 is the priority of an option's default (`lib.mkOptionDefault`).
"""


def from_configuration(reference: str, name: str, build_system: str) -> Source:
    """A NixOS configuration of a flake, and the same one built on `build_system`."""
    return Source(
        native="configuration",
        cross="checked",
        label=f"{_label(reference)}#{CONFIGURATIONS}.{name}",
        library=_flake(reference) + NIXOS.format(build=quoted(build_system), name=quoted(name)),
        revision=REVISION,
        options=FLAKES,
    )


def cross_path(
    attribute: Sequence[str], cross: str | None, build_system: str, systems: Systems
) -> tuple[str, ...]:
    """Where a set like nixpkgs has the cross counterpart of an attribute.

    Args:
        attribute: its path; `legacyPackages.SYSTEM` (a flake) and `pkgs` may come first.
        cross: the name in `pkgsCross`; None to take that of SYSTEM.
        build_system: the build machine's Nix system.
        systems: the known systems.

    Raises:
        ShimError: neither `cross` nor the path tells what to build for.
    """
    match tuple(attribute):
        case ("legacyPackages", system, *rest):
            name = cross or systems[system].cross
            return ("legacyPackages", build_system, "pkgsCross", name, *rest)
        case path if cross is not None:
            return ("pkgsCross", cross, *path)
    raise ShimError(
        f"no cross counterpart is given for `{'.'.join(attribute)}`",
        hint="give --cross-attr, or --cross with a name in `pkgsCross`",
        code=ExitCode.USAGE,
    )


def _flake(reference: str) -> str:
    local = Path(reference).expanduser()
    absolute = str(local.resolve()) if _is_local(reference) else reference
    return f"  flake = builtins.getFlake {quoted(absolute)};\n"


def _is_local(reference: str) -> bool:
    return reference.startswith((".", "/", "~"))


def _label(reference: str) -> str:
    """The reference without folders of this machine."""
    kind, _, rest = reference.partition(":")
    if _is_local(reference) or kind in {"path", "git+file"}:
        return Path(rest.partition("?")[0] or reference).expanduser().resolve().name
    return reference
