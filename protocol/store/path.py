"""Store paths as checked text: `<store directory>/<digest>-<name>`.  Knows nothing of files.

The digest has 32 characters of Nix's base 32; the name 1 to 211 characters of `[0-9a-zA-Z+._?=-]`,
and is not `.` or `..`, nor starts with `.-` or `..-`.  (Names with a leading dot were refused by
Nix 2.3 and taken by 2.4 and later; the four forms above are refused again since 2.21.)  Only the
canonical spelling is taken: no double slashes, nothing behind the name.  Checked against Nix's
`StorePath` and `checkName`.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from protocol.errors import RemoteProtocolError
from protocol.store.base32 import ALPHABET

STORE_DIR: Final = "/nix/store"
"""The usual store directory: a default for interactive use, never a constant of the protocol."""

DIGEST_LENGTH: Final = 32
NAME_LENGTH: Final = 211
"""Leaves room in a file name of 255 bytes for the digest, `.lock`, `.chroot` and the like."""

DERIVATION_SUFFIX: Final = ".drv"

_BASE: Final = (
    rf"[{ALPHABET}]{{{DIGEST_LENGTH}}}-(?!\.\.?(?:-|\Z))[0-9a-zA-Z+\-._?=]{{1,{NAME_LENGTH}}}"
)
_matches_name: Final = re.compile(
    rf"(?!\.\.?(?:-|\Z))[0-9a-zA-Z+\-._?=]{{1,{NAME_LENGTH}}}"
).fullmatch


class BadStorePath(RemoteProtocolError):
    """A text that is not a path of the store directory in use."""


class StorePath(str):
    """The full text of a store path: sorts, compares and hashes as that text.

    Made by `parse` or `of`; calling the class itself checks nothing.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, store_dir: str = STORE_DIR) -> "StorePath":
        """Check a full path.

        Raises:
            BadStorePath: it is not directly in `store_dir`, or digest or name are not valid.
        """
        if _matcher(store_dir)(text) is None:
            raise BadStorePath(_complaint(text, store_dir))
        return cls(text)

    @classmethod
    def of(cls, base: str, store_dir: str = STORE_DIR) -> "StorePath":
        """Check a base name `<digest>-<name>` and put it into `store_dir`.

        Raises:
            BadStorePath: digest or name are not valid.
        """
        return cls.parse(f"{store_dir}/{base}", store_dir)

    @property
    def base(self) -> str:
        """`<digest>-<name>`."""
        return self[self.rindex("/") + 1 :]

    @property
    def digest(self) -> str:
        """The 32 characters that references are found by."""
        start = self.rindex("/") + 1
        return self[start : start + DIGEST_LENGTH]

    @property
    def name(self) -> str:
        """What follows the digest and a dash, `.drv` included."""
        return self[self.rindex("/") + DIGEST_LENGTH + 2 :]

    @property
    def store_dir(self) -> str:
        """The directory the path lies in, without slash at the end."""
        return self[: self.rindex("/")]

    @property
    def is_derivation(self) -> bool:
        """Whether the name ends in `.drv`."""
        return self.endswith(DERIVATION_SUFFIX)


def check_name(name: str) -> str:
    """Return the name of a store object if it is valid.

    Raises:
        BadStorePath: it is empty, too long, or has characters that names cannot have.
    """
    if _matches_name(name) is None:
        raise BadStorePath(_bad_name(name))
    return name


@lru_cache(maxsize=16)
def _matcher(store_dir: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(f"{re.escape(store_dir)}/{_BASE}").fullmatch


def _bad_name(name: str) -> str:
    if not name:
        return "a store path needs a name behind its digest"
    if len(name) > NAME_LENGTH:
        return (
            f"name of {len(name)} characters, at most {NAME_LENGTH} are possible: `{name[:40]}...`"
        )
    return f"bad name of a store path: `{name}`"


def _complaint(text: str, store_dir: str) -> str:
    shown = text if len(text) <= 2 * NAME_LENGTH else f"{text[:NAME_LENGTH]}..."
    prefix = f"{store_dir}/"
    if not text.startswith(prefix):
        return f"not in the store directory `{store_dir}`: `{shown}`"
    base = text[len(prefix) :]
    if "/" in base:
        return f"not directly in the store directory `{store_dir}`: `{shown}`"
    digest, separator, name = base.partition("-")
    if len(digest) != DIGEST_LENGTH or not set(digest) <= set(ALPHABET) or not separator:
        return f"no digest of {DIGEST_LENGTH} base-32 characters and a dash: `{shown}`"
    return _bad_name(name)
