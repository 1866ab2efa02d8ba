# Makes a folder of tools out of the seeds; runs with nothing but the seeds.
"$seeds/busybox" mkdir -p "$out/bin" "$out/lib" "$out/libexec"
"$seeds/busybox" cp "$seeds/busybox" "$seeds/bash" "$out/bin/"
"$out/bin/busybox" --install -s "$out/bin"
export PATH="$out/bin"
ln -sf bash "$out/bin/sh"

mkdir unpacked
for deb in $patchelfDebs; do
  dpkg-deb -x "$deb" unpacked
done
for library in $dynamicLinker libc.so.6 libm.so.6 libgcc_s.so.1 libstdc++.so.6; do
  cp -L "unpacked/usr/lib/$multiarch/$library" "$out/lib/"
done
cp unpacked/usr/bin/patchelf "$out/libexec/"
# Run through its own loader: nothing is there yet that could patch it.
cat > "$out/bin/patchelf" <<END
#!$out/bin/bash
exec $out/lib/$dynamicLinker --library-path $out/lib $out/libexec/patchelf "\$@"
END
chmod +x "$out/bin/patchelf"
