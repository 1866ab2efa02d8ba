"""A script that lets the build machine's tools run where native ones are named, and the reverse.

Native libraries name native tools, and nixpkgs' `setup.sh` would put these on the search path and
source their hooks; what the planted package propagates itself must be named natively, although its
own build runs the build machine's form.  The script is a dependency of the planted recipe.  It
stands where nothing has been activated and all dependencies have been found: `setup.sh` sources
dependencies that are files in the order of the slots, and the slot of `SLOT` comes first
(`_activatePkgs`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from protocol.store.addressing import text_path
from protocol.store.path import StorePath
from shim.plant.slots import BROUGHT

SLOT: Final = "depsBuildBuild"
"""The dependency slot that is activated before all others."""

NAME: Final = "nix-shim-exchange-tools"

_SCRIPT: Final = """\
# Tools that native libraries name: others stand in for them.
# What this package propagates: named in the form that runs on its own machine.
nixShimExchangeTools() {
  local list each old new row
  local -a kept
  for list in pkgsBuildBuild pkgsBuildHost pkgsBuildTarget; do
    local -n found=$list
    kept=()
    for each in "${found[@]}"; do
      case " @aside@ " in
        *" $each "*) ;;
        *) kept+=("$each") ;;
      esac
    done
    found=("${kept[@]}")
  done
  for row in @recorded@; do
    old=${row% *} new=${row#* }
    for list in @variables@; do
      local -n found=$list
      [[ -z ${found+x} ]] || found=("${found[@]//"$old"/"$new"}")
    done
  done
}
nixShimExchangeTools
unset -f nixShimExchangeTools
"""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Which tools change places in a planted build."""

    aside: tuple[StorePath, ...] = ()
    """Native tools that native libraries bring along and the build machine cannot run."""
    recorded: Mapping[StorePath, StorePath] = field(default_factory=dict)
    """Tool that the planted recipe propagates -> what its native output names instead."""

    def __bool__(self) -> bool:
        return bool(self.aside or self.recorded)

    @property
    def natives(self) -> frozenset[StorePath]:
        """Native outputs that the script names."""
        return frozenset((*self.aside, *self.recorded.values()))

    def script(self) -> str:
        """What the build sources."""
        rows = (f'"{old} {new}"' for old, new in sorted(self.recorded.items()))
        return (
            _SCRIPT.replace("@aside@", " ".join(self.aside))
            .replace("@recorded@", " ".join(rows))
            .replace("@variables@", " ".join(BROUGHT))
        )

    def path(self, store_dir: str) -> StorePath:
        """Where the script lies.

        It refers to nothing, so that it can be written first: whatever is to be found in a result
        is an input of its own.
        """
        return text_path(NAME, self.script().encode(), (), store_dir)
