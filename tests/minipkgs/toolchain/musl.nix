# musl as Debian has it, for `hostStdenv`; see `otherLibc` of the toolchain.
{ debian }:
hostStdenv:
let
  inherit (hostStdenv) hostPlatform;
  there = debian.deb hostPlatform.deb;
in
hostStdenv.mkDerivation {
  pname = "musl";
  version = debian.version hostPlatform.deb "musl";
  outputs = [
    "out"
    "dev"
  ];
  srcs = [
    (there "musl")
    (there "musl-dev")
  ];
  inherit (hostPlatform) muslArch dynamicLinker;
  installPhase = ''
    mkdir -p "$out/lib" "$dev/include"
    cp -P "usr/lib/$muslArch"/* "$out/lib/"
    ln -s libc.so "$out/lib/$dynamicLinker"
    cp -r "usr/include/$muslArch"/. "$dev/include/"
  '';
  dontFixup = true;
}
