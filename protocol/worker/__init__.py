"""The worker protocol: what `nix-daemon` speaks on its socket and over `ssh-ng://`."""
