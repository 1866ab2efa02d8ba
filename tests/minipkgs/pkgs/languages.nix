# Packages of other compilers than the standard one; see toolchain/more.nix.
{ pkgs, ... }:
let
  greeting = stdenv: name:
    stdenv.mkDerivation {
      pname = name;
      version = "1.0";
      src = ./languages;
      buildPhase = ''
        $CC -O2 -o ${name} greeting.c
      '';
      installPhase = ''
        mkdir -p $out/bin
        cp ${name} $out/bin/
      '';
    };
in
{
  clanged = greeting pkgs.clangStdenv "clanged";
  musled = greeting pkgs.muslStdenv "musled";

  # A wrapped compiler in a dependency slot, beside the environment's own.
  summed = pkgs.stdenv.mkDerivation {
    pname = "summed";
    version = "1.0";
    src = ./languages;
    nativeBuildInputs = [ pkgs.gfortran ];
    buildPhase = ''
      $FC -O2 -o summed summed.f90
    '';
    installPhase = ''
      mkdir -p $out/bin
      cp summed $out/bin/
    '';
  };
}
