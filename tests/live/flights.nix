# Packages that take a time which can be seen, for tests of what happens meanwhile.
#
#   pkgs.slow      waits for `seconds` and makes `size` MB that no compression makes smaller
#   pkgs.tooled    the same, but what takes long is a tool of the build machine
#   pkgs.failing   fails as tests do
#   pkgs.every     needs `many.p0` to `many.p23`, which are like `slow`
#   pkgs.both      needs `left` and `right`, which are like `slow`
{
  nonce ? "",
  seconds ? "6",
  toolSeconds ? "6",
  size ? "1",
}:
let
  sets = import ../minipkgs { };

  packages =
    pkgs:
    let
      slow =
        attributes:
        pkgs.stdenv.mkDerivation (
          {
            version = "1.0";
            inherit nonce;
            dontUnpack = true;
            buildPhase = ''
              echo "now it waits"
              sleep ${seconds}
              echo "now it is done"
            '';
            installPhase = ''
              mkdir -p $out/share
              head -c ${size}000000 /dev/urandom > $out/share/noise
            '';
          }
          // attributes
        );
    in
    rec {
      slowTool = pkgs.stdenvNoCC.mkDerivation {
        name = "slow-tool";
        inherit nonce;
        dontUnpack = true;
        installPhase = ''
          sleep ${toolSeconds}
          mkdir -p $out/bin
          printf '#!/bin/sh\necho tool\n' > $out/bin/slow-tool
          chmod +x $out/bin/slow-tool
        '';
      };
      slow' = slow { pname = "slow"; };
      tooled = slow {
        pname = "tooled";
        nativeBuildInputs = [ (packages pkgs.buildPackages).slowTool ];
      };
      failing = slow {
        pname = "failing";
        buildPhase = ''
          echo "3 tests failed"
          exit 1
        '';
      };
      left = slow { pname = "left"; };
      right = slow { pname = "right"; };
      both = slow {
        pname = "both";
        buildInputs = [
          left
          right
        ];
      };
      many = builtins.listToAttrs (
        builtins.genList (number: {
          name = "p${toString number}";
          value = slow { pname = "p${toString number}"; };
        }) 24
      );
      every = slow {
        pname = "every";
        buildInputs = builtins.attrValues many;
      };
    };

  named = pkgs: let all = packages pkgs; in all // { slow = all.slow'; };
in
{
  pkgs = named sets.pkgs;
  pkgsCross.aarch64-multiplatform = named sets.pkgsCross.aarch64-multiplatform;
}
