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
  positioned = greeting pkgs.earlyStdenv "positioned";
  musled = greeting pkgs.muslStdenv "musled";

  # Go is a build tool that variables tell of the target; its own folder must not be in the result.
  gopher = pkgs.stdenv.mkDerivation {
    pname = "gopher";
    version = "1.0";
    src = ./languages;
    nativeBuildInputs = [ pkgs.buildPackages.go ];
    GOOS = "linux";
    GOARCH = pkgs.stdenv.hostPlatform.deb;
    CGO_ENABLED = "0";
    GO111MODULE = "off";
    GOTOOLCHAIN = "local";
    disallowedReferences = [ pkgs.buildPackages.go ];
    # The result is static: there is no RUNPATH to shrink.
    dontFixup = true;
    buildPhase = ''
      export GOCACHE=$NIX_BUILD_TOP/cache GOPATH=$NIX_BUILD_TOP/path
      go build -trimpath -ldflags=-buildid= -o gopher gopher.go
    '';
    installPhase = ''
      mkdir -p $out/bin
      cp gopher $out/bin/
    '';
  };

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
