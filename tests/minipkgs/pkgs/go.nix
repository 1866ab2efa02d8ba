# Debian's Go: its programs are static, and one of them makes code for every target.
{ pkgs, debian, ... }:
let
  inherit (pkgs.stdenvNoCC) hostPlatform;
  here = debian.deb hostPlatform.deb;
in
pkgs.stdenvNoCC.mkDerivation {
  pname = "go";
  version = debian.version hostPlatform.deb "golang-1.24-go";
  srcs = [
    (here "golang-1.24-go")
    (here "golang-1.24-src")
  ];
  installPhase = ''
    mkdir -p $out/bin $out/share/go/pkg
    cp -r usr/share/go-1.24/src usr/share/go-1.24/lib $out/share/go/
    cp -r usr/share/go-1.24/pkg/include usr/lib/go-1.24/pkg/tool $out/share/go/pkg/
    cp -r usr/lib/go-1.24/bin usr/lib/go-1.24/VERSION usr/lib/go-1.24/go.env $out/share/go/
    ln -s ../share/go/bin/go $out/bin/go
  '';
  dontFixup = true;
}
