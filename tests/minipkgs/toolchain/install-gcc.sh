# Lays Debian's compiler out as nixpkgs does: programs in `out`, what programs load in `lib`.
for deb in $debs; do
  dpkg-deb -x "$deb" .
done
kind=gcc
if [[ -n $targetPrefix ]]; then kind=gcc-cross; fi
own=$kind/$multiarch/14
runtime=usr/lib/$multiarch
if [[ -n $targetPrefix ]]; then runtime=usr/$multiarch/lib; fi

# Run-time libraries of the programs it makes.
libraries=$lib/lib
if [[ -n $targetConfig ]]; then
  libraries=$lib/$targetConfig/lib
  mkdir -p "$lib"
  ln -s "$targetConfig/lib" "$lib/lib"
fi
mkdir -p "$libraries"
if [[ -z $targetLibgcc ]]; then
  mkdir -p "$libgcc/lib"
  cp "$runtime/libgcc_s.so.1" "$libgcc/lib/"
  patchelf --set-rpath "$targetLibc/lib" "$libgcc/lib/libgcc_s.so.1"
  targetLibgcc=$libgcc
fi
ln -s "$targetLibgcc/lib/libgcc_s.so.1" "$libraries/libgcc_s.so.1"
cp -P "$runtime"/libstdc++.so.6* "$libraries/"
patchelf --set-rpath "$targetLibgcc/lib:$targetLibc/lib" "$(readlink -f "$libraries/libstdc++.so.6")"
ln -s libstdc++.so.6 "$libraries/libstdc++.so"
cp "usr/lib/$own/libgcc_s.so" "$libraries/"

# The compiler's own files.
mkdir -p "$out/bin" "$out/lib/$own" "$out/libexec/$own"
cp -r "usr/lib/$own/include" "usr/lib/$own"/crt*.o "$out/lib/$own/"
cp "usr/lib/$own"/lib{gcc,gcc_eh,stdc++,supc++,ssp_nonshared}.a "$out/lib/$own/"
for program in cc1 cc1plus collect2 liblto_plugin.so lto-wrapper; do
  cp "usr/libexec/$own/$program" "$out/libexec/$own/"
done
for program in gcc g++ cpp gcc-ar gcc-nm gcc-ranlib; do
  cp "usr/bin/$multiarch-$program-14" "$out/bin/$targetPrefix$program"
done

# Libraries that the compiler itself loads.
for library in gmp mpfr mpc isl z zstd; do
  cp -P "usr/lib/$buildMultiarch"/lib$library.so.* "$out/lib/"
done
for file in "$out"/lib/*.so.* "$out"/bin/* "$out/libexec/$own"/*; do
  if [[ ! -f $file || -L $file ]]; then continue; fi
  case $file in
    *.so*) patchelf --set-rpath "$out/lib:$libc/lib" "$file" ;;
    *) patchProgram "$file" "$out/lib:$libc/lib" ;;
  esac
done

# C++ headers, where the compiler looks for them from its own place.
if [[ -z $targetConfig ]]; then
  mkdir -p "$out/include/$multiarch"
  cp -r usr/include/c++ "$out/include/"
  cp -r "usr/include/$multiarch/c++" "$out/include/$multiarch/"
else
  # A cross compiler looks into TARGET/{bin,include,lib} beside itself.
  mkdir -p "$out/$multiarch/bin" "$out/$multiarch/include" "$out/$multiarch/lib"
  cp -r "usr/$multiarch/include/c++" "$out/$multiarch/include/"
  for header in "$targetLibcDev"/include/*; do
    [[ ${header##*/} == c++ ]] || ln -s "$header" "$out/$multiarch/include/"
  done
  for library in "$targetLibc"/lib/* "$libraries"/*; do
    ln -sf "$library" "$out/$multiarch/lib/"
  done
  for tool in as ld; do
    ln -s "$targetBintools/bin/$targetPrefix$tool" "$out/$multiarch/bin/$tool"
  done
fi
