# Writes a standard environment: the generic script, and what it starts from.
export PATH=
for each in $initialPath; do
  PATH="$PATH${PATH:+:}$each/bin"
done
mkdir -p "$out/nix-support"
{
  printf 'export SHELL=%q\n' "$shell"
  printf 'initialPath=%q\n' "$initialPath"
  printf 'defaultNativeBuildInputs=%q\n' "$defaultNativeBuildInputs"
  printf 'defaultBuildInputs=%q\n' "$defaultBuildInputs"
  printf '%s\n' "$preHook"
  cat "$setup"
} > "$out/setup"
