# Copies up and down: one small path, `MANY` of them, and one of `LARGE` lines.
. "${BASH_SOURCE%/*}/common.sh"
echo small > "$WORK/small"
small=$(nix-store --store "$CLIENT_STORE" --add "$WORK/small")
nix copy --no-check-sigs --from "$CLIENT_STORE" --to "$SOCKET_STORE" "$small"
mkdir "$WORK/many"
for number in $(seq "$MANY"); do echo "number $number" > "$WORK/many/$number"; done
many=$(nix-store --store "$CLIENT_STORE" --add "$WORK"/many/*)
nix copy --no-check-sigs --from "$CLIENT_STORE" --to "$SOCKET_STORE" $many
seq "$LARGE" > "$WORK/large"
large=$(nix-store --store "$CLIENT_STORE" --add "$WORK/large")
nix copy --no-check-sigs --from "$CLIENT_STORE" --to "$SOCKET_STORE" "$large"
# Clients of a socket read the files themselves: only over SSH are they sent.
nix copy --no-check-sigs --from "ssh-ng://localhost?remote-program=$SERVED" --to "local?root=$WORK/third" \
  "$small" $many "$large"
