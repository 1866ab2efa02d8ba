# Floating outputs: realisations are registered and asked for.
. "${BASH_SOURCE%/*}/common.sh"
nix-build "$WORK/things.nix" -A resting --no-out-link
nix build -f "$WORK/things.nix" resting floating floating.doc --no-link --json
nix realisation info -f "$WORK/things.nix" resting --json
nix copy --no-check-sigs --to "$CLIENT_STORE" -f "$WORK/things.nix" resting
nix copy --no-check-sigs --from "$CLIENT_STORE" --to "$SOCKET_STORE" -f "$WORK/things.nix" resting
