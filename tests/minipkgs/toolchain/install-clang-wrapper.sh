mkdir -p "$out/bin" "$out/libexec" "$out/nix-support"
echo "$cc" > "$out/nix-support/orig-cc"
for tool in "$bintools"/bin/*; do
  ln -s "$tool" "$out/bin/${tool##*/}"
done
# lld, told what the usual linker is told.
prog=$cc/bin/ld.lld
default_hardening_flags_str="bindnow relro" substituteAll "$ldWrapper" "$out/libexec/ld"
# One clang makes code for every target: this one is told which, and whose start files to use.
prog=$out/libexec/clang
{
  echo "#!$shell"
  echo "exec $cc/bin/clang --target=$triple --gcc-install-dir=$gccFolder \\"
  echo "  --ld-path=$out/libexec/ld -Wno-unused-command-line-argument \"\$@\""
} > "$prog"
for name in clang cc; do
  substituteAll "$wrapper" "$out/bin/$targetPrefix$name"
done
chmod +x "$out"/libexec/* "$out/bin/${targetPrefix}"{clang,cc}
