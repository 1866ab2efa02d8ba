{ lib, pkgs, ... }:
let
  inherit (pkgs) stdenv;
  src = pkgs.fetchDebianSource "zlib";
in
stdenv.mkDerivation {
  pname = "zlib";
  inherit (src) version;
  inherit src;
  outputs = [
    "out"
    "dev"
    "static"
  ];
  # Its configure is its own: no --build, no --host; it takes the tools' prefix from CHOST.
  configurePlatforms = [ ];
  configureFlags = [
    "--static"
    "--shared"
  ];
  preConfigure = lib.optionalString stdenv.isCross ''
    export CHOST=${stdenv.hostPlatform.config}
  '';
  doCheck = true;
  postInstall = ''
    moveToOutput lib/libz.a "$static"
    moveToOutput share "$dev"
  '';
}
