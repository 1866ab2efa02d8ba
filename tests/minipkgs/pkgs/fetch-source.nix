# A source archive as a fixed-output derivation: made by whatever machine builds, the same path everywhere.
{ pkgs, debian, ... }:
name:
let
  source = debian.source name;
  inherit (pkgs.buildPackages) bootstrapTools stdenv;
in
derivation {
  name = "${name}-${source.version}.${source.suffix}";
  inherit (stdenv.hostPlatform) system;
  builder = "${bootstrapTools}/bin/bash";
  args = [
    "-ec"
    "${bootstrapTools}/bin/cp $url $out"
  ];
  url = source.file;
  outputHashMode = "flat";
  outputHashAlgo = "sha256";
  outputHash = source.sha256;
}
// {
  inherit (source) version;
}
