{ pkgs, ... }:
let
  src = pkgs.fetchDebianSource "pigz";
in
pkgs.stdenv.mkDerivation {
  pname = "pigz";
  inherit (src) version;
  inherit src;
  buildInputs = [ pkgs.zlib ];
  makeFlags = [ "CC=${pkgs.stdenv.cc.targetPrefix}cc" ];
  doCheck = true;
  checkTarget = "test";
  installPhase = ''
    mkdir -p $out/bin $out/share/man/man1
    cp pigz $out/bin/
    ln -s pigz $out/bin/unpigz
    cp pigz.1 $out/share/man/man1/
  '';
}
