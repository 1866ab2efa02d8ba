"""What the wrapper of a kept compiler is told, so that it compiles as the native one would.

Defaults that only the kept one was configured with are taken back by options in front of all
others.  Header folders go by their native names: a compiler that is kept as it is finds its own
headers, and the libc headers it was built with, in the cross set's folders, whose names reach
debug information and `__FILE__`.  The grafted wrapper maps them (gcc manual, `-ffile-prefix-map`):
its own folder to the native compiler's, any other store path it searches to the native libc's.
Which ones it searches, the compiler itself tells when the wrapper is made: a recipe that named them
would refer to the cross set.
"""

from dataclasses import dataclass
from typing import Final

from protocol.store.path import StorePath

VARIABLE: Final = "postFixup"
"""The script of a wrapper's recipe that writes `nix-support` (nixpkgs: `cc-wrapper/default.nix`).
"""

_SCRIPT: Final = """
map_sources() {
  local old new
  old=$(readlink -f "$1") new=$(readlink -f "$2") || true
  case $old in "$cc"/*) return ;; @store@/*) ;; *) return ;; esac
  old=${old#@store@/} new=${new#@store@/}
  echo "-ffile-prefix-map=@store@/${old%%/*}=@store@/${new%%/*}"
}
for compiler in "$cc"/bin/*-gcc; do
  [ -x "$compiler" ] || continue
  echo "-ffile-prefix-map=$cc=@compiler@" >> "$out/nix-support/libc-cflags"
  "$compiler" -E -Wp,-v -x c++ - < /dev/null 2>&1 > /dev/null | while read -r folder _; do
    [ -d "$folder" ] || continue
    map_sources "$folder" @headers@/include
    for header in "$folder"/*; do
      [ ! -L "$header" ] || map_sources "$header" "@headers@/include/${header##*/}"
    done
  done | sort -u >> "$out/nix-support/libc-cflags"
done
"""
"""Names are resolved because gcc does so; links lead from the libc's headers to the kernel's."""

_OPTIONS: Final = """
echo 'extraBefore=(@options@ "${extraBefore[@]}")' \\
  >> "$out/nix-support/add-local-cc-cflags-before.sh"
"""
"""Sourced by the wrapper when it has put its own options in front (`cc-wrapper.sh`); what it adds
for hardening must come later, since `-fno-pie` takes back `-fPIC` too.
"""


@dataclass(frozen=True, slots=True)
class NativeCompiler:
    """The compiler that the kept one takes the place of."""

    compiler: StorePath
    """The unwrapped native compiler's output."""
    headers: StorePath
    """The native libc output that holds `include`."""
    options: str = ""
    """What takes back the kept compiler's own defaults."""

    def script(self, store_dir: str) -> str:
        """What a compiler wrapper's recipe does besides."""
        options = _OPTIONS.replace("@options@", self.options) if self.options else ""
        return options + (
            _SCRIPT.replace("@compiler@", self.compiler)
            .replace("@headers@", self.headers)
            .replace("@store@", store_dir)
        )
