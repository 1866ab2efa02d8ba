# mkDerivation as nixpkgs has it, as far as a derivation shows: slots, names, flags, outputs.
{ lib }:
stdenv:
let
  inherit (stdenv) buildPlatform hostPlatform targetPlatform;
  cross = stdenv.isCross;

  # Dependencies stand for their `dev` output, as a package's users want its headers.
  dev = map (each: if builtins.isAttrs each then lib.getDev each else each);

  triple =
    which:
    {
      build = "--build=${buildPlatform.config}";
      host = "--host=${hostPlatform.config}";
      target = "--target=${targetPlatform.config}";
    }
    .${which};

  crossFile = builtins.toFile "cross-file.conf" ''
    [properties]
    needs_exe_wrapper = true

    [host_machine]
    system = 'linux'
    cpu_family = '${hostPlatform.cpu}'
    cpu = '${hostPlatform.cpu}'
    endian = 'little'

    [binaries]
    llvm-config = 'llvm-config-native'
  '';

  slots = [
    "depsBuildBuild"
    "nativeBuildInputs"
    "depsBuildTarget"
    "depsHostHost"
    "buildInputs"
    "depsTargetTarget"
    "depsBuildBuildPropagated"
    "propagatedNativeBuildInputs"
    "depsBuildTargetPropagated"
    "depsHostHostPropagated"
    "propagatedBuildInputs"
    "depsTargetTargetPropagated"
  ];

  # Read here, and not handed to the builder.
  ours = [
    "passthru"
    "meta"
    "configurePlatforms"
    "separateDebugInfo"
    "nativeCheckInputs"
    "checkInputs"
  ];
in
attributes:
let
  given = attributes;
  fixed = given ? outputHash;
  suffix = lib.optionalString (cross && !fixed && stdenv.hostSuffix) "-${hostPlatform.config}";
  name =
    if given ? name then "${given.name}${suffix}" else "${given.pname}${suffix}-${given.version}";

  debug = given.separateDebugInfo or false;
  outputs = (given.outputs or [ "out" ]) ++ lib.optional debug "debug";

  doCheck = (given.doCheck or false) && !cross;
  doInstallCheck = (given.doInstallCheck or false) && !cross;

  platforms =
    given.configurePlatforms or (lib.optionals cross [
      "build"
      "host"
    ]);

  list = slot: given.${slot} or [ ];
  extra = {
    nativeBuildInputs =
      lib.optional debug ./separate-debug-info.sh
      ++ lib.optionals (doCheck || doInstallCheck) (list "nativeCheckInputs");
    buildInputs = lib.optionals (doCheck || doInstallCheck) (list "checkInputs");
  };
  dependencies = builtins.listToAttrs (
    map (slot: {
      name = slot;
      value = dev (list slot ++ extra.${slot} or [ ]);
    }) slots
  );

  arguments =
    removeAttrs given (ours ++ [ "realBuilder" ])
    // dependencies
    // {
      inherit
        name
        outputs
        stdenv
        doCheck
        doInstallCheck
        ;
      system = buildPlatform.system;
      builder = given.realBuilder or stdenv.shell;
      args =
        given.args or [
          "-e"
          ./default-builder.sh
        ];
      __structuredAttrs = given.__structuredAttrs or false;
      strictDeps = given.strictDeps or cross;
      configureFlags = (given.configureFlags or [ ]) ++ map triple platforms;
      cmakeFlags =
        (given.cmakeFlags or [ ])
        ++ lib.optionals cross [
          "-DCMAKE_SYSTEM_NAME=Linux"
          "-DCMAKE_SYSTEM_PROCESSOR=${hostPlatform.cpu}"
          "-DCMAKE_HOST_SYSTEM_NAME=Linux"
          "-DCMAKE_HOST_SYSTEM_PROCESSOR=${buildPlatform.cpu}"
        ];
      mesonFlags = (given.mesonFlags or [ ]) ++ lib.optional cross "--cross-file=${crossFile}";
      patches = given.patches or [ ];
      enableParallelBuilding = given.enableParallelBuilding or true;
    };

  made = derivation arguments;
in
made
// {
  inherit stdenv outputs;
  passthru = given.passthru or { };
  version = given.version or "";
}
// builtins.listToAttrs (
  map (output: {
    name = output;
    value = made.${output} // {
      inherit (made) outputs;
      outputSpecified = true;
    };
  }) outputs
)
// (given.passthru or { })
