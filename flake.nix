{
  description = "A Nix remote builder that answers native derivations with cross-compiled outputs at their native paths";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      # The host is fast and x86_64; boards use the module only.
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};
    in
    {
      packages.${system} = rec {
        nix-shim = pkgs.callPackage ./nixos-module/package.nix { };
        default = nix-shim;
      };

      overlays.default = final: _: {
        nix-shim = final.callPackage ./nixos-module/package.nix { };
      };

      nixosModules = {
        host = ./nixos-module/host.nix;
        board = ./nixos-module/board.nix;
      };

      checks.${system} = {
        inherit (self.packages.${system}) nix-shim;
        vm = pkgs.callPackage ./nixos-module/test.nix { };
      };

      devShells.${system}.default = pkgs.mkShell {
        inputsFrom = [ self.packages.${system}.nix-shim ];
        packages = [
          pkgs.mypy
          pkgs.ruff
          pkgs.python3Packages.hypothesis
          pkgs.python3Packages.pytest
        ];
      };
    };
}
