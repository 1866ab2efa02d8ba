# A whole graph is evaluated here and built there.
. "${BASH_SOURCE%/*}/common.sh"
unset NIX_REMOTE
nix build --store "$SOCKET_STORE" --eval-store "$CLIENT_STORE" -f "$WORK/things.nix" tree --no-link
nix build --store "$SOCKET_STORE" --eval-store "$CLIENT_STORE" -f "$WORK/things.nix" above --no-link && exit 1
exit 0
