"""Derivations out of Nix expressions, by Nix itself.

Runs `nix-instantiate`, which every Nix has, once for each attribute: one that fails says so and
stops no other.  What was evaluated stays a garbage-collection root until its link is removed.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from protocol.errors import ProtocolError
from protocol.store.path import StorePath
from shim.errors import ExitCode, ShimError

SHOWN: Final = 3
"""Last lines of Nix's own message that are passed on."""


def instantiate(
    file: Path, attribute: str, root: Path, store_dir: str, options: Sequence[str] = ()
) -> StorePath:
    """Evaluate one attribute of a Nix file.

    Args:
        file: the expression.
        attribute: its path in there, as `nix-instantiate -A` takes it.
        root: link to make; it keeps the derivation and its inputs.
        store_dir: the store directory.
        options: further arguments, such as `--argstr system x`.

    Returns:
        The `.drv`.

    Raises:
        ShimError: there is no Nix, or the evaluation failed; says why in Nix's words.
    """
    words = ["nix-instantiate", str(file), "-A", attribute, "--add-root", str(root), *options]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ShimError(
            "`nix-instantiate` is not installed",
            hint="evaluate elsewhere and give the .drv files to `table pair --derivations`",
            code=ExitCode.UNAVAILABLE,
        ) from error
    if done.returncode != 0:
        said = " ".join(done.stderr.strip().splitlines()[-SHOWN:])
        raise ShimError(f"cannot evaluate `{attribute}` of `{file}`: {said}", code=ExitCode.DATA)
    try:
        return StorePath.parse(str(root.readlink()), store_dir)
    except (OSError, ProtocolError) as error:
        raise ShimError(
            f"`{attribute}` of `{file}` is not one derivation: {error}", code=ExitCode.DATA
        ) from error
