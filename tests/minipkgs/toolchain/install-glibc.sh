mkdir -p "$out/lib" "$dev"
# No library of optional parts: name services, debugging, obsolete interfaces.
for file in "usr/lib/$multiarch"/{*crt*.o,lib*.so,*.so.*,libc_nonshared.a}; do
  case ${file##*/} in
    libnss_* | libnsl* | libthread_db* | libBroken*) ;;
    *) cp -P "$file" "$out/lib/" ;;
  esac
done
# Empty archives: their contents are part of libc.so.6 now, but programs still name them.
cp "usr/lib/$multiarch"/lib{pthread,dl,rt,util}.a "$out/lib/"
# Linker scripts name libraries by their places in Debian.
for script in libc.so libm.so; do
  if ! isElf "$out/lib/$script"; then
    sed -i -E "s,(/usr)?/lib(64)?/($multiarch/)?,$out/lib/,g" "$out/lib/$script"
  fi
done

cp -r usr/include "$dev/include"
cp -r "usr/include/$multiarch"/. "$dev/include/"
# The kernel's headers of every architecture come in one package, as links.
rm -rf "$dev/include"/*-linux-* "$dev/include/asm" "$dev/include/finclude"
cp -rL "usr/lib/linux/uapi/$kernel/asm" "$dev/include/asm"
