mkdir -p "$out/bin" "$out/nix-support"
echo "$cc" > "$out/nix-support/orig-cc"
for tool in "$bintools"/bin/*; do
  ln -s "$tool" "$out/bin/${tool##*/}"
done
wrap() {
  local name
  prog=$cc/bin/$targetPrefix$1
  shift
  for name in "$@"; do
    substituteAll "$wrapper" "$out/bin/$targetPrefix$name"
    chmod +x "$out/bin/$targetPrefix$name"
  done
}
wrap gcc gcc cc
wrap g++ g++ c++
wrap cpp cpp
