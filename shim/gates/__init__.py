"""Gates: every planted result is looked at, thoroughly, before any client can see it.

`judge(subject, settings)` reads the result's files under the plant store's physical root and
answers with a `Verdict`.  It runs no program, opens no socket and changes nothing.
"""

from shim.gates.judgement import judge

__all__ = ["judge"]
