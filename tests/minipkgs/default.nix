# minipkgs: a small package set built like nixpkgs, out of Debian's toolchains; see docs/minipkgs.md.
#
#   pkgs                              what a board evaluates (system, by default aarch64-linux)
#   pkgsCross.aarch64-multiplatform   the same packages, cross-compiled on x86_64-linux
#   pkgsFor.SYSTEM                    the same by name; armv7l-linux and riscv64-linux need scripts/fetch-minipkgs --all
#   pkgsCross.armv7l-hf-multiplatform, pkgsCross.riscv64   likewise
#   pkgsx86                           the build machine's own packages
{
  system ? "aarch64-linux",
  cache ?
    let
      set = builtins.getEnv "NIX_SHIM_CACHE";
    in
    if set != "" then set else toString ../../.cache,
}:
let
  lib = import ./lib.nix;
  platforms = import ./platforms.nix;
  debian = import ./debian.nix { inherit cache; };
  bootstrap = import ./stdenv/bootstrap.nix { inherit lib debian; };

  native = builtins.mapAttrs (
    system: platform:
    lib.fix (
      pkgs:
      bootstrap.native {
        inherit platform pkgs;
        packages = import ./packages.nix { inherit lib debian; };
      }
    )
  ) platforms;

  cross =
    buildSystem: hostSystem:
    lib.fix (
      pkgs:
      bootstrap.cross {
        inherit pkgs;
        buildPackages = native.${buildSystem};
        platform = platforms.${hostSystem};
        packages = import ./packages.nix { inherit lib debian; };
      }
    );
in
{
  pkgs = native.${system};
  pkgsFor = native;
  pkgsx86 = native.x86_64-linux;
  pkgsCross = {
    aarch64-multiplatform = cross "x86_64-linux" "aarch64-linux";
    armv7l-hf-multiplatform = cross "x86_64-linux" "armv7l-linux";
    riscv64 = cross "x86_64-linux" "riscv64-linux";
  };
}
