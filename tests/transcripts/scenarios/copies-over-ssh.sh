. "${BASH_SOURCE%/*}/common.sh"
store="ssh://localhost?remote-program=$SERVED"
export NIX_REMOTE=$CLIENT_STORE
tree=$(nix-build "$WORK/things.nix" -A tree --no-out-link)
nix copy --no-check-sigs --to "$store" "$tree"
nix copy --no-check-sigs --from "$store" --to "local?root=$WORK/third" "$tree"
nix copy --derivation --no-check-sigs --to "$store" "$(thing fixed)"
nix-store --store "$store" --realise "$(thing fixed)" || true
nix path-info --store "$store" --closure-size "$tree"
nix store ping --store "$store"
