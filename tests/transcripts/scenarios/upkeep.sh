# Roots, garbage, signatures, logs and checks.
. "${BASH_SOURCE%/*}/common.sh"
nix-build "$WORK/things.nix" -A tree --out-link "$WORK/result"
tree=$(readlink "$WORK/result")
nix-store --generate-binary-cache-key golden-1 "$WORK/key" "$WORK/key.pub"
nix store sign --key-file "$WORK/key" "$tree"
nix-store --gc --print-roots
nix-store --gc --print-dead
nix-store --gc --print-live
nix-store --gc --max-freed 100
nix-store --delete "$(thing fixed)"
nix-store --optimise
nix-store --verify --check-contents
nix-store --realise --check "$(thing input)"
nix-store --realise --repair "$(thing tree)" || true
nix store copy-log --from "$SERVER_STORE" --to "$SOCKET_STORE" "$(thing input)" || true
