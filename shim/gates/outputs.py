"""Gate: the result is the native derivation's outputs, all of them, none empty, no other."""

from typing import ClassVar

from shim.gates.gate import Gate
from shim.gates.tree import Entry, Kind


class Outputs(Gate):
    """Compares what was made with what was asked for."""

    name: ClassVar = "outputs"

    def begin(self) -> None:
        """Look for missing, extra and wrongly named outputs."""
        subject = self.subject
        for output, path in subject.outputs.items():
            physical = subject.physical(path)
            if not (physical.exists() or physical.is_symlink()):
                self.report("outputs.missing", output, f"no file at the output path: `{path}`")
            if subject.built is not None and subject.built.get(output) != path:
                self.report(
                    "outputs.missing",
                    output,
                    f"asked for `{path}`, the daemon made `{subject.built.get(output)}`",
                )
            expected = subject.name if output == "out" else f"{subject.name}-{output}"
            if path.name != expected:
                self.report("outputs.name", output, f"`{path.name}` should be `{expected}`")
        for output, path in (subject.built or {}).items():
            if output not in subject.outputs:
                self.report("outputs.extra", output, f"the daemon made `{path}`")

    def entry(self, entry: Entry) -> None:
        """Look at the output's own entry."""
        if not entry.inside and entry.kind is Kind.DIRECTORY and not entry.size:
            self.report("outputs.empty", entry.path, "a directory without entries")
