# Logs: while a build runs, and afterwards.
. "${BASH_SOURCE%/*}/common.sh"
nix-build "$WORK/things.nix" -A tree --no-out-link
nix-store --read-log "$(thing tree)"
nix log "$(thing tree)"
nix build -L -f "$WORK/things.nix" input --no-link --rebuild
