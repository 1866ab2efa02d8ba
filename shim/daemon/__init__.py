"""Sessions, builds and nix-daemons: everything that waits.  The only place with trio.

What clients say comes in by `clients` (and `translated`, where they speak something else); builds
are shared and queued in `building`, cross-compiled by `plants`; `nix` starts and asks nix-daemons.
Here is what all of them share.
"""
