"""Values of the Nix store: paths, hashes, derivations, path infos.  No wire format, no files."""
