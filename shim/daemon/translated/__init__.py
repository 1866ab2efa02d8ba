"""Clients that speak something else: the serve protocol, and commands of nix-store."""
