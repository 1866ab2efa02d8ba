"""What may stand in for a native derivation, with the evidence for it.

`pairing` walks a native and a cross derivation graph in parallel and makes a `Table`; `file` keeps
one on disk.  Nothing here builds, evaluates or talks to a daemon.
"""
