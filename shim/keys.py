"""Signing keys: one for each way in which a path can have come about.

A store that uses the shim as a substituter chooses by `trusted-public-keys` what it takes: those
who list only `NAME-verified-1` never get a path that is merely checked.  Keys lie in one directory,
a file for each, named as the key and readable by its owner alone; nothing else is kept there.
Keys are made once and never overwritten; a further one has the next number, and signs from then on.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.signing import BadKey, PublicKey, SecretKey
from shim.equivalence.grades import Grade
from shim.errors import ExitCode, ShimError

LONGEST: Final = 1 << 12
"""Bytes of a key file that are read; a key has about 100."""


class Made(StrEnum):
    """How a path came about, in falling order of what is known of it."""

    IDENTICAL = "identical"
    """The native and the cross recipe make the same by definition."""
    VERIFIED = "verified"
    """Planted from a pair whose results were compared with native ones."""
    EMULATED = "emulated"
    """The native recipe, untouched, run by an emulator."""
    ACCELERATED = "accelerated"
    """The native recipe, emulated, with tools for this machine in some places."""
    CHECKED = "checked"
    """Planted from a structural pair; every gate passed."""
    REPAIRED = "repaired"
    """Planted, and changed by a repair before every gate passed."""
    DECLARED = "declared"
    """Planted from a pair that an operator declared."""

    @classmethod
    def by_grade(cls, grade: Grade) -> "Made":
        """How a plant of that grade, not repaired, came about."""
        return cls(grade.name.lower())


@dataclass(frozen=True, slots=True)
class _Name:
    """`<base>-<made>-<serial>`, taken apart."""

    base: str
    made: Made
    serial: int


_NAME: Final = re.compile(rf"([^:/]+)-({'|'.join(Made)})-([1-9][0-9]{{0,8}})")
_BASE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")


def _parse(name: str) -> _Name | None:
    found = _NAME.fullmatch(name)
    return _Name(found[1], Made(found[2]), int(found[3])) if found else None


class KeyRing:
    """The keys of a shim: signs with the newest of each kind, knows the public parts of all."""

    def __init__(self, keys: Iterable[SecretKey]) -> None:
        self._newest: dict[Made, tuple[int, SecretKey]] = {}
        self._public: dict[str, PublicKey] = {}
        for key in keys:
            name = _parse(key.name)
            if name is None:
                raise ShimError(
                    f"not the name of a key of ours: `{key.name}`",
                    hint="names are NAME-KIND-NUMBER, as `nix-shim keys generate` makes them",
                    code=ExitCode.CONFIG,
                )
            self._public[key.name] = key.public()
            if name.serial > self._newest.get(name.made, (0, key))[0]:
                self._newest[name.made] = (name.serial, key)

    @classmethod
    def load(cls, directory: Path) -> "KeyRing":
        """All keys of a directory.

        Raises:
            ShimError: it cannot be read, holds no keys, a file is no key or not the one its name
                says, or others than its owner can read it.
        """
        try:
            files = sorted(path for path in directory.iterdir() if _parse(path.name))
        except OSError as error:
            raise ShimError(
                f"the keys in `{directory}` cannot be read: {error.strerror}",
                hint=_generate_hint(directory),
                code=ExitCode.CONFIG,
            ) from error
        if not files:
            raise ShimError(
                f"no keys in `{directory}`", hint=_generate_hint(directory), code=ExitCode.CONFIG
            )
        return cls(_read(path) for path in files)

    @property
    def public(self) -> Mapping[str, PublicKey]:
        """Name -> public part of every key, older ones included."""
        return dict(self._public)

    def sign(self, path: StorePath, info: PathInfo, made: Made) -> PathInfo:
        """What is said of a path, signed in addition by the newest key of `made`.

        Raises:
            ShimError: there is no such key.
        """
        if made not in self._newest:
            raise ShimError(
                f"no key to sign paths of kind `{made}`",
                hint="`nix-shim keys generate` makes those that are missing",
                code=ExitCode.CONFIG,
            )
        _, key = self._newest[made]
        signature = key.sign(info.fingerprint(path))
        return replace(info, signatures=info.signatures | {signature})


def generate(directory: Path, base: str, kinds: Iterable[Made] = Made) -> list[PublicKey]:
    """Make the first key of each kind that has none yet; return the public parts of the new ones.

    Raises:
        ShimError: `base` cannot be the name of a key, or the directory cannot be written.
    """
    present = {name.made for name in _names(directory)}
    return [_write(directory, base, made, 1) for made in kinds if made not in present]


def rotate(directory: Path, base: str, made: Made) -> PublicKey:
    """Make the next key of a kind; it signs from then on.

    Raises:
        ShimError: as `generate`.
    """
    serials = [name.serial for name in _names(directory) if name.made is made]
    return _write(directory, base, made, max(serials, default=0) + 1)


def _names(directory: Path) -> list[_Name]:
    if not directory.exists():
        return []
    return [name for path in directory.iterdir() if (name := _parse(path.name))]


def _write(directory: Path, base: str, made: Made, serial: int) -> PublicKey:
    if not _BASE.fullmatch(base):
        raise ShimError(
            f"not fit as the name of a key: `{base}`",
            hint="use letters, digits, dots and dashes, such as the host's name",
            code=ExitCode.USAGE,
        )
    key = SecretKey.generate(f"{base}-{made}-{serial}")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(directory / key.name, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key.render())
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise ShimError(
            f"key `{key.name}` cannot be written to `{directory}`: {error.strerror}",
            hint="check the directory's owner and permissions",
            code=ExitCode.UNAVAILABLE,
        ) from error
    return key.public()


def _read(path: Path) -> SecretKey:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(LONGEST).decode("ascii", "replace").strip()
    except OSError as error:
        raise ShimError(
            f"key file `{path}` cannot be read: {error.strerror}",
            hint="run as the user that the keys belong to",
            code=ExitCode.CONFIG,
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise ShimError(
            f"key file `{path}` can be used by others than its owner",
            hint=f"run `chmod 600 {path}`, and make new keys if somebody may have read it",
            code=ExitCode.CONFIG,
        )
    try:
        key = SecretKey.parse(text)
    except BadKey as error:
        raise ShimError(
            f"key file `{path}` holds no key: {error.message}",
            hint="restore it from a backup, or remove it and generate a new key",
            code=ExitCode.CONFIG,
        ) from error
    if key.name != path.name:
        raise ShimError(
            f"key file `{path}` holds the key `{key.name}`",
            hint="rename the file to the name of its key",
            code=ExitCode.CONFIG,
        )
    return key


def _generate_hint(directory: Path) -> str:
    return f"make keys with `nix-shim keys generate --directory {directory} --name NAME`"
