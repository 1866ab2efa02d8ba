# A plain build through the daemon's socket: options, sources, derivations, a build, its outputs.
. "${BASH_SOURCE%/*}/common.sh"
echo source > "$WORK/source"
nix-store --add "$WORK/source"
nix-store --add-fixed sha1 "$WORK/source"
nix-build "$WORK/things.nix" -A tree --no-out-link
nix-build "$WORK/things.nix" -A fixed --no-out-link
