# Everything that can be asked about valid paths.
. "${BASH_SOURCE%/*}/common.sh"
tree=$(NIX_REMOTE=$SERVER_STORE nix-build "$WORK/things.nix" -A tree --no-out-link)
nix-store --query --references "$tree"
nix-store --query --referrers "$tree"
nix-store --query --deriver "$tree"
nix-store --query --outputs "$(thing tree)"
nix-store --check-validity "$tree"
nix-store --dump-db >/dev/null || true
nix path-info --all --json
nix-store --dump "$tree" >/dev/null || true
nix copy --no-check-sigs --to "$CLIENT_STORE" "$tree"
nix-store --realise --dry-run "$(thing resting)" "$(thing structured)"
nix store ping
