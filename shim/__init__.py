"""A Nix remote builder that cross-compiles native derivations at their native paths."""

__version__ = "0.1.0"
