# Cross recipes that make something unfit; natively each is a good package.  For the gates.
{ lib, pkgs, ... }:
let
  inherit (pkgs) stdenv buildPackages;
  inherit (stdenv) mkDerivation;
  cross = stdenv.isCross;
  plain = name: attributes: mkDerivation (
    {
      pname = name;
      version = "1.0";
      src = ./src;
      buildPhase = ''
        $CC -O2 -o bad bad.c
      '';
      installPhase = ''
        mkdir -p $out/bin
        cp bad $out/bin/
        runHook postInstall
      '';
    }
    // attributes
  );
in
{
  # Installs a program of the build machine.
  wrongArch = plain "wrong-arch" (
    lib.optionalAttrs cross {
      depsBuildBuild = [ buildPackages.stdenv.cc ];
      buildPhase = ''
        $CC_FOR_BUILD -O2 -o bad bad.c
      '';
    }
  );

  # Keeps the path of the cross libc, which it learns from the compiler, where no recipe shows it.
  crossLibc = plain "cross-libc" {
    postInstall =
      if cross then
        ''
          readlink -f ${pkgs.gcc-unwrapped}/${stdenv.hostPlatform.multiarch}/lib/libc.so.6 > $out/libc
        ''
      else
        ''
          echo ${pkgs.glibc}/lib/libc.so.6 > $out/libc
        '';
  };

  # Has an output less when cross-compiled.
  missingOutput = plain "missing-output" (
    if cross then
      { }
    else
      {
        outputs = [
          "out"
          "doc"
        ];
        postInstall = ''
          mkdir -p $doc
          cp bad.c $doc/
        '';
      }
  );

  # Declares an output that its cross build does not make.
  unmadeOutput = plain "unmade-output" {
    outputs = [
      "out"
      "doc"
    ];
    postInstall = lib.optionalString (!cross) ''
      mkdir -p $doc
      cp bad.c $doc/
    '';
  };
}
