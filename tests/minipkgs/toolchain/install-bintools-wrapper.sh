mkdir -p "$out/bin" "$out/nix-support"
echo "$bintools_bin" > "$out/nix-support/orig-bintools"
echo "$dynamicLinker" > "$out/nix-support/dynamic-linker"
for tool in "$bintools_bin"/bin/*; do
  ln -s "$tool" "$out/bin/${tool##*/}"
done
for linker in ld ld.bfd; do
  rm "$out/bin/$targetPrefix$linker"
  prog=$bintools_bin/bin/$targetPrefix$linker
  substituteAll "$ldWrapper" "$out/bin/$targetPrefix$linker"
  chmod +x "$out/bin/$targetPrefix$linker"
done
