# Runs a program that it has just compiled: works where the build machine can run the result.
{ pkgs, ... }:
pkgs.stdenv.mkDerivation {
  pname = "selfmade";
  version = "1.0";
  src = ./selfmade;
  buildPhase = ''
    $CC -O2 -o make-table make-table.c
    ./make-table > table.h
    $CC -O2 -o selfmade selfmade.c
  '';
  installPhase = ''
    mkdir -p $out/bin
    cp selfmade $out/bin/
  '';
}
