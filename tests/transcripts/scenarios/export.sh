# Exports and imports, which clients make of other operations.
. "${BASH_SOURCE%/*}/common.sh"
tree=$(NIX_REMOTE=$SERVER_STORE nix-build "$WORK/things.nix" -A tree --no-out-link)
nix-store --export $(nix-store --query --requisites "$tree") > "$WORK/exported"
mkdir "$WORK/other"
NIX_REMOTE="local?root=$WORK/other" nix-store --import < "$WORK/exported"
echo imported > "$WORK/source"
source=$(NIX_REMOTE=$CLIENT_STORE nix-store --add "$WORK/source")
NIX_REMOTE=$CLIENT_STORE nix-store --export "$source" | nix-store --import
