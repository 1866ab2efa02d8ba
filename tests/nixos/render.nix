# What the two modules make of a small configuration, as JSON for the tests.
{
  host ? { },
  board ? { },
}:
let
  standin = import ./standin.nix;
  package = {
    outPath = "/nix/store/00000000000000000000000000000000-nix-shim";
    type = "derivation";
    mainProgram = "nix-shim";
  };
  pkgs = {
    callPackage = _: _: package;
    formats.toml = _: {
      type = "toml";
      generate = name: _: "/rendered/${name}";
    };
    bashInteractive = "/bash";
    util-linux = "/util-linux";
  };
in
{
  host = standin.evaluate {
    module = ../../nixos-module/host.nix;
    given.services.nix-shim = host // {
      enable = true;
    };
    outside.nix.package = "/nix";
    inherit pkgs;
  };
  board = standin.evaluate {
    module = ../../nixos-module/board.nix;
    given.programs.nix-shim-board = board // {
      enable = true;
    };
    inherit pkgs;
  };
}
