# From seeds to a standard environment with a compiler, natively and across.
{ lib, debian }:
let
  mkStdenv = arguments: import ./default.nix ({ inherit lib; } // arguments);
in
{
  # A package set that is built where it runs.
  native =
    {
      platform,
      pkgs,
      packages,
    }:
    let
      bootstrapTools = derivation {
        name = "bootstrap-tools";
        inherit (platform) system multiarch dynamicLinker;
        seeds = debian.seeds platform.deb;
        builder = "${debian.seeds platform.deb}/bash";
        args = [
          "-e"
          ./bootstrap-tools.sh
        ];
        patchelfDebs = map (debian.deb platform.deb) [
          "patchelf"
          "libc6"
          "libgcc-s1"
          "libstdc++6"
        ];
      };
      stage0 = mkStdenv {
        name = "bootstrap-stage0-stdenv-linux";
        buildPlatform = platform;
        hostPlatform = platform;
        shell = "${bootstrapTools}/bin/bash";
        initialPath = [ bootstrapTools ];
        cc = null;
      };
      base = packages.base {
        stdenv = stage0;
        inherit (toolchain) glibc;
      };
      toolchain = import ../toolchain {
        inherit lib debian;
        buildStdenv = stage0;
        hostStdenv = stage0;
        shell = "${base.bash}/bin/bash";
      };
      more = import ../toolchain/more.nix {
        inherit lib debian toolchain;
        buildStdenv = stage0;
        hostStdenv = stage0;
        shell = "${base.bash}/bin/bash";
      };
      muslPlatform = platform // platform.musl;
      muslToolchain = import ../toolchain {
        inherit lib debian;
        buildStdenv = stage0;
        hostStdenv = mkStdenv {
          name = "bootstrap-stage0-stdenv-linux";
          buildPlatform = platform;
          hostPlatform = muslPlatform;
          shell = "${bootstrapTools}/bin/bash";
          initialPath = [ bootstrapTools ];
          cc = null;
        };
        buildGlibc = toolchain.glibc;
        otherLibc = import ../toolchain/musl.nix { inherit debian; };
        shell = "${base.bash}/bin/bash";
      };
      tools = [
        base.busybox
        base.bash
        base.gnumake
        base.patchelf
      ];
      final =
        arguments:
        mkStdenv (
          {
            name = "stdenv-linux";
            buildPlatform = platform;
            hostPlatform = platform;
            shell = "${base.bash}/bin/bash";
            initialPath = tools;
          }
          // arguments
        );
    in
    base
    // {
      inherit bootstrapTools;
      inherit (toolchain)
        glibc
        libgcc
        gcc-unwrapped
        binutils-unwrapped
        bintools
        ;
      gcc = toolchain.cc;
      inherit (more) gfortran;
      stdenv = final { inherit (toolchain) cc; };
      clangStdenv = final { cc = more.clang; };
      earlyStdenv = final { cc = more.early-gcc; };
      muslStdenv = final {
        inherit (muslToolchain) cc;
        hostPlatform = muslPlatform;
      };
      stdenvNoCC = final {
        cc = null;
        hostSuffix = false;
      };
      buildPackages = pkgs;
      # What a cross set of this build platform is made with.
      inherit tools;
    }
    // packages.rest pkgs;

  # A package set that is built on `buildPackages`' machine and runs on `platform`.
  cross =
    {
      pkgs,
      buildPackages,
      platform,
      packages,
    }:
    let
      buildPlatform = buildPackages.stdenv.hostPlatform;
      mk =
        arguments:
        mkStdenv (
          {
            name = "stdenv-linux";
            inherit buildPlatform;
            shell = buildPackages.stdenv.shell;
            initialPath = buildPackages.tools;
          }
          // arguments
        );
      # Makes cross compilers: they run here and make code for there.
      buildStdenv = mk {
        hostPlatform = buildPlatform;
        targetPlatform = platform;
        cc = null;
      };
      noCC = mk {
        hostPlatform = platform;
        cc = null;
      };
      toolchain = import ../toolchain {
        inherit lib debian buildStdenv;
        hostStdenv = noCC;
        buildGlibc = buildPackages.glibc;
        shell = buildPackages.stdenv.shell;
      };
      more = import ../toolchain/more.nix {
        inherit lib debian toolchain buildStdenv;
        hostStdenv = noCC;
        shell = buildPackages.stdenv.shell;
      };
      muslPlatform = platform // platform.musl;
      muslToolchain = import ../toolchain {
        inherit lib debian;
        buildStdenv = mk {
          hostPlatform = buildPlatform;
          targetPlatform = muslPlatform;
          cc = null;
        };
        hostStdenv = mk {
          hostPlatform = muslPlatform;
          cc = null;
        };
        buildGlibc = buildPackages.glibc;
        otherLibc = import ../toolchain/musl.nix { inherit debian; };
        shell = buildPackages.stdenv.shell;
      };
    in
    packages.base {
      stdenv = noCC;
      inherit (toolchain) glibc;
    }
    // {
      inherit (toolchain)
        glibc
        libgcc
        gcc-unwrapped
        binutils-unwrapped
        bintools
        ;
      gcc = toolchain.cc;
      inherit (more) gfortran;
      stdenv = mk {
        hostPlatform = platform;
        inherit (toolchain) cc;
      };
      clangStdenv = mk {
        hostPlatform = platform;
        cc = more.clang;
      };
      earlyStdenv = mk {
        hostPlatform = platform;
        cc = more.early-gcc;
      };
      muslStdenv = mk {
        hostPlatform = muslPlatform;
        inherit (muslToolchain) cc;
      };
      stdenvNoCC = mk {
        hostPlatform = platform;
        cc = null;
        hostSuffix = false;
      };
      inherit buildPackages;
    }
    // packages.rest pkgs;
}
