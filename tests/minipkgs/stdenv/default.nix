# A standard environment: tools, a compiler, and mkDerivation that makes packages with them.
{
  lib,
  name,
  buildPlatform,
  hostPlatform,
  # The platform that a compiler made here makes code for.
  targetPlatform ? hostPlatform,
  shell,
  initialPath,
  # The wrapped compiler, or null.
  cc,
  extraNativeBuildInputs ? [ ],
  # Whether cross-compiled packages are named after their platform: what nixpkgs makes without a
  # compiler (hooks, texts) is not.
  hostSuffix ? true,
}:
let
  self =
    derivation {
      inherit name shell initialPath;
      system = buildPlatform.system;
      builder = shell;
      args = [
        "-e"
        ./stdenv-builder.sh
      ];
      setup = ./setup.sh;
      preHook = ''
        export NIX_ENFORCE_PURITY=1
      '';
      defaultNativeBuildInputs = extraNativeBuildInputs ++ lib.optional (cc != null) cc;
      defaultBuildInputs = [ ];
    }
    // {
      inherit
        buildPlatform
        hostPlatform
        targetPlatform
        shell
        cc
        hostSuffix
        ;
      isCross = buildPlatform.system != hostPlatform.system;
      mkDerivation = import ./make-derivation.nix { inherit lib; } self;
    };
in
self
