mkdir -p "$out/lib"
found=$(find . -name 'libgcc_s.so.1')
cp "$found" "$out/lib/"
patchelf --set-rpath "$libc/lib" "$out/lib/libgcc_s.so.1"
