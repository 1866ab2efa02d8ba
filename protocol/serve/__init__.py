"""The serve protocol, 2.0 to 2.8: what `nix-store --serve --write` speaks over `ssh://`."""
