# Packages without a compiler: scripts, texts, fixed contents, environments of links.
{ pkgs, ... }:
let
  inherit (pkgs) stdenv stdenvNoCC;
in
rec {
  # A script; its interpreter is the host's shell.
  greeter = stdenvNoCC.mkDerivation {
    pname = "greeter";
    version = "1.0";
    buildInputs = [ pkgs.bash ];
    dontUnpack = true;
    installPhase = ''
      mkdir -p $out/bin
      printf '#!/bin/sh\necho hello\n' > $out/bin/greeter
      chmod +x $out/bin/greeter
    '';
  };

  # A text that names other packages, without a builder's help but a shell's.
  notes = stdenvNoCC.mkDerivation {
    name = "notes";
    text = "${greeter}/bin/greeter greets; ${pkgs.words}/bin/words counts.\n";
    passAsFile = [ "text" ];
    buildCommand = ''
      cp "$textPath" $out
    '';
  };

  # The same whichever machine makes it, by its hash.
  fixed = stdenvNoCC.mkDerivation {
    name = "fixed.txt";
    outputHashMode = "flat";
    outputHashAlgo = "sha256";
    outputHash = builtins.hashString "sha256" "fixed\n";
    buildCommand = ''
      echo fixed > $out
    '';
  };

  # Links to what other packages have.
  toolbox = stdenv.mkDerivation {
    name = "toolbox";
    paths = [
      greeter
      pkgs.words
      pkgs.stamped
    ];
    buildCommand = ''
      mkdir -p $out/bin
      for path in $paths; do
        ln -s $path/bin/* $out/bin/
      done
      ln -s ${notes} $out/notes
      ln -s ${fixed} $out/fixed
    '';
  };
}
