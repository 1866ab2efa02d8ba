"""Sessions, builds and nix-daemons: everything that waits.  The only place with trio.

What clients say comes in by `clients` (and `translated`, for those who speak something else), builds
are shared and queued in `building`, cross-compiled by `plants`; `nix` starts and asks nix-daemons.
Here is what all of them share.
"""
