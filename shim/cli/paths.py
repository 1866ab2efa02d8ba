"""Store paths as they are given on the command line."""

from protocol.store.path import BadStorePath, StorePath
from shim.errors import ExitCode, ShimError


def store_path(text: str, store_dir: str) -> StorePath:
    """The store path `text`, such as a shell's completion leaves it.

    Raises:
        ShimError: it is none.
    """
    try:
        return StorePath.parse(text.rstrip("/"), store_dir)
    except BadStorePath as error:
        raise ShimError(
            error.message,
            hint=f"give the full path, such as {store_dir}/...",
            code=ExitCode.USAGE,
        ) from error
