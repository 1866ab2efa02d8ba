"""What is judged: a planted result, where its files lie, and what it may refer to.  Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from protocol.store.path import STORE_DIR, StorePath
from shim.systems import SYSTEMS, System


@dataclass(frozen=True, slots=True)
class Subject:
    """A planted result and the bounds set to it.

    Attributes:
        name: name of the native derivation, without `.drv`.
        system: platform that the result must be for.
        outputs: the native derivation's outputs: output name -> its path.
        root: physical root of their store: the files of `/nix/store/x` lie at `root/nix/store/x`.
        store_dir: logical store directory.
        allowed: paths the result may refer to: the native input closure and the outputs themselves.
        forbidden: digest -> reason in one clause, for paths that a reference must not reach: cross
            set, build platform, grafts, synthetic paths of the plant.
        visible: everything the build could see, when that is known.  A store path found in the
            result that is in none of the three sets is then sample text and no leak.
        built: what the daemon says it made (output name -> path), extra outputs included, if
            known.
        build_system: platform the build ran on.
        closure_roots: further physical roots in which files of allowed paths may lie (the serving
            store's, for one), searched after `root`.
        build_dir: directory of the sandbox in which the build ran.
    """

    name: str
    system: System
    outputs: Mapping[str, StorePath]
    root: Path
    store_dir: str = STORE_DIR
    allowed: frozenset[StorePath] = frozenset()
    forbidden: Mapping[str, str] = field(default_factory=dict)
    visible: frozenset[StorePath] | None = None
    built: Mapping[str, StorePath] | None = None
    build_system: System = SYSTEMS["x86_64-linux"]
    closure_roots: tuple[Path, ...] = ()
    build_dir: str = "/build"

    def physical(self, path: StorePath) -> Path:
        """Where the files of a path lie under `root`."""
        return self.root / path.lstrip("/")
