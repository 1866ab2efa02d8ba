# nix-shim as a package; callable by itself: pkgs.callPackage ./nixos-module/package.nix { }
{
  lib,
  installShellFiles,
  python3Packages,
}:
python3Packages.buildPythonApplication {
  pname = "nix-shim";
  version =
    let
      line = lib.findFirst (lib.hasPrefix "__version__") "" (
        lib.splitString "\n" (builtins.readFile ../shim/__init__.py)
      );
    in
    lib.removeSuffix "\"" (lib.removePrefix "__version__ = \"" line);
  pyproject = true;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../LICENSE
      ../README.md
      ../protocol
      ../pyproject.toml
      ../shim
    ];
  };

  build-system = [ python3Packages.hatchling ];
  dependencies = with python3Packages; [
    asyncssh
    cattrs
    click
    cryptography
    msgpack
    prometheus-client
    pyelftools
    rich
    structlog
    trio
    zstandard
  ];

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    for shell in bash fish zsh; do
      $out/bin/nix-shim completion $shell > nix-shim.$shell
    done
    installShellCompletion nix-shim.bash nix-shim.fish --zsh --name _nix-shim nix-shim.zsh
  '';

  pythonImportsCheck = [
    "protocol"
    "shim"
  ];

  meta = {
    description = "Nix remote builder that answers native derivations with cross-compiled outputs at their native paths";
    license = lib.licenses.mit;
    mainProgram = "nix-shim";
    platforms = [ "x86_64-linux" ];
  };
}
