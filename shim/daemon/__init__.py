"""Sessions, builds and nix-daemons: everything that waits.  The only place with trio."""
