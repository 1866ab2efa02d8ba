"""The complete Nix worker and serve protocols, without sockets, files or clocks."""
