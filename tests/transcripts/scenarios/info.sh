# What a store says of itself.
. "${BASH_SOURCE%/*}/common.sh"
nix store ping
nix store ping --json || true
nix store info --json || true
