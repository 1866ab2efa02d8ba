# Operations that today's clients do not send any more, asked by our own client.
. "${BASH_SOURCE%/*}/common.sh"
export NIX_REMOTE=$SERVER_STORE
echo source > "$WORK/source"
source=$(nix-store --add "$WORK/source")
input=$(nix-build "$WORK/things.nix" -A input --no-out-link)
nix-store --export "$source" > "$WORK/export"
"$PYTHON" -m tests.transcripts.ask_daemon "$SERVED" "$WORK/export" "$input" "$(thing input)" "$source"
