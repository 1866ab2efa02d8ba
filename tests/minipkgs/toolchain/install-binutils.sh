mkdir -p "$out/bin" "$out/lib"
cp -P "usr/lib/$buildMultiarch"/lib*.so.* "$out/lib/"
cp -P "usr/lib/$buildMultiarch"/lib*.so "$out/lib/" 2>/dev/null || true
if [[ -d usr/lib/$multiarch/ldscripts ]]; then
  # Linker scripts that ld reads, not those built into it.
  mkdir -p "$out/lib/ldscripts"
fi
for tool in usr/bin/"$multiarch"-*; do
  case $tool in *-gprof | *-dwp) continue ;; esac
  name=${tool##*/"$multiarch"-}
  if [[ -L $tool ]]; then
    continue
  fi
  cp "$tool" "$out/bin/$targetPrefix$name"
  patchProgram "$out/bin/$targetPrefix$name" "$out/lib:$libc/lib"
done
ln -s "${targetPrefix}ld.bfd" "$out/bin/${targetPrefix}ld"
for library in "$out"/lib/*.so*; do
  if [[ -f $library && ! -L $library ]]; then
    patchelf --set-rpath "$out/lib:$libc/lib" "$library"
  fi
done
