# What a daemon answers when something goes wrong.
. "${BASH_SOURCE%/*}/common.sh"
nix-build "$WORK/things.nix" -A above -A absent --keep-going --no-out-link && exit 1
nix-build "$WORK/things.nix" -A mismatch --no-out-link && exit 1
nix-build "$WORK/things.nix" -A foreign --no-out-link && exit 1
nix build -L -f "$WORK/things.nix" above absent mismatch --keep-going --no-link && exit 1
nix-store --realise /nix/store/00000000000000000000000000000000-nowhere && exit 1
exit 0
