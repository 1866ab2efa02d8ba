# What the two modules make of small configurations, as JSON for the tests.
{
  host,
  board,
  # A checkout of nixpkgs, whose own `lib` is used then.
  nixpkgs ? null,
}:
let
  lib = if nixpkgs == null then import ./standin.nix else import (nixpkgs + "/lib");
  package = {
    type = "derivation";
    name = "nix-shim";
    outPath = "/nix/store/00000000000000000000000000000000-nix-shim";
    meta.mainProgram = "nix-shim";
    mainProgram = "nix-shim";
  };
  tomlType = lib.types.attrsOf lib.types.anything;
  pkgs = {
    callPackage = _: _: package;
    coreutils = "/coreutils";
    formats.toml = _: {
      type = tomlType;
      generate = name: value: "/rendered/${name}";
    };
    # The text of the derivation shows that the configuration is checked.
    runCommand =
      name: _: script:
      package
      // {
        outPath = "/built/${name}";
        inherit script;
      };
    stdenv.hostPlatform.system = "aarch64-linux";
    util-linux = package // {
      outPath = "/util-linux";
    };
  };
  evaluate =
    module: given:
    (lib.evalModules {
      modules = [
        ./options.nix
        module
        given
        { _module.args.pkgs = pkgs; }
        {
          nix.package = package // {
            outPath = "/nix-itself";
          };
        }
      ];
    }).config;
in
{
  host = evaluate ../../nixos-module/host.nix {
    services.nix-shim = {
      enable = true;
    } // host;
  };
  board = evaluate ../../nixos-module/board.nix {
    programs.nix-shim-board = {
      enable = true;
    } // board;
  };
}
