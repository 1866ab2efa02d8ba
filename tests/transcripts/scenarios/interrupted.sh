# A client that is interrupted while a build runs.
. "${BASH_SOURCE%/*}/common.sh"
timeout --signal INT 3 nix-build "$WORK/things.nix" -A slow --no-out-link || true
