mkdir -p "$out/lib" "$dev"
cp -P "usr/lib/$multiarch"/{*crt*.o,*.so.*,libc.so,libc_nonshared.a,libm.so,libmvec.so,libresolv.so} \
  "$out/lib/" 2>/dev/null || true
cp -P "usr/lib/$multiarch/$dynamicLinker" "$out/lib/" 2>/dev/null || cp -PL "usr/lib64/$dynamicLinker" "$out/lib/"
# Empty archives: their contents are part of libc.so.6 now, but programs still name them.
cp "usr/lib/$multiarch"/lib{pthread,dl,rt,util}.a "$out/lib/"
rm -f "$out/lib"/libnss_* "$out/lib"/libnsl* "$out/lib"/libthread_db* "$out/lib"/libBroken*
for script in libc.so libm.so; do
  if [[ -f $out/lib/$script ]] && ! isElf "$out/lib/$script"; then
    sed -i -E "s,(/usr)?/lib(64)?/($multiarch/)?,$out/lib/,g" "$out/lib/$script"
  fi
done
if [[ ! -e $out/lib/libm.so ]]; then ln -s libm.so.6 "$out/lib/libm.so"; fi

cp -r usr/include "$dev/include"
cp -r "usr/include/$multiarch"/. "$dev/include/"
# The kernel's headers of every architecture come in one package, as links.
rm -rf "$dev/include"/*-linux-* "$dev/include/asm" "$dev/include/finclude"
cp -rL "usr/lib/linux/uapi/$kernel/asm" "$dev/include/asm"
