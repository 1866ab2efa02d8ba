# Lays Debian's clang and lld out in one folder; they find what is theirs from where they are.
for deb in $debs; do
  dpkg-deb -x "$deb" .
done
mkdir -p "$out/bin" "$out/lib/clang"
cp usr/lib/llvm-19/bin/clang usr/lib/llvm-19/bin/lld "$out/bin/"
ln -s lld "$out/bin/ld.lld"
cp -r usr/lib/llvm-19/lib/clang/19 "$out/lib/clang/"
rm -rf "$out/lib/clang/19/lib"
for name in LLVM clang-cpp bsd edit ffi gcc_s lzma md stdc++ tinfo xml2 z z3 zstd; do
  for library in "usr/lib/$buildMultiarch/lib$name.so."* "usr/lib/llvm-19/lib/lib$name.so."*; do
    [[ ! -e $library ]] || cp -L "$library" "$out/lib/"
  done
done
for file in "$out/lib"/*.so.* "$out/bin/clang" "$out/bin/lld"; do
  case $file in
    *.so*) patchelf --set-rpath "$out/lib:$libc/lib" "$file" ;;
    *) patchProgram "$file" "$out/lib:$libc/lib" ;;
  esac
done
