# Commands that today's clients do not send, asked by our own client.
. "${BASH_SOURCE%/*}/common.sh"
export NIX_REMOTE=$SERVER_STORE
echo source > "$WORK/source"
source=$(nix-store --add "$WORK/source")
"$PYTHON" -m tests.transcripts.ask "$SERVED" "$(thing input)" "$(thing failing)" "$source"
