# What a Fortran compiler has besides.
cp "usr/bin/$multiarch-gfortran-14" "$out/bin/${targetPrefix}gfortran"
cp "usr/libexec/$own/f951" "$out/libexec/$own/"
for file in "$out/bin/${targetPrefix}gfortran" "$out/libexec/$own/f951"; do
  patchProgram "$file" "$out/lib:$libc/lib"
done
cp -r "usr/lib/$own/finclude" "usr/lib/$own/libgfortran.spec" "$out/lib/$own/"
cp "usr/lib/$own"/lib{gfortran,caf_single}.a "$out/lib/$own/"
cp -P "$runtime"/libgfortran.so.5* "$libraries/"
patchelf --set-rpath "$targetLibgcc/lib:$targetLibc/lib" "$(readlink -f "$libraries/libgfortran.so.5")"
ln -s libgfortran.so.5 "$libraries/libgfortran.so"
