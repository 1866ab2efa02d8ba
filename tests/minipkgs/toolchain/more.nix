# More compilers and another C library beside a toolchain: Fortran, LLVM, musl.
# What they are made of is downloaded by scripts/fetch-minipkgs --all.
{
  lib,
  debian,
  buildStdenv,
  hostStdenv,
  # The toolchain of the same platforms; it makes their run-time libraries too.
  toolchain,
  shell,
}:
let
  inherit (hostStdenv) buildPlatform hostPlatform;
  inherit (toolchain) targetPrefix;
  cross = hostStdenv.isCross;
  here = debian.deb buildPlatform.deb;
  there = debian.deb hostPlatform.deb;
  runtime = name: if cross then debian.deb "all" "${name}-${hostPlatform.deb}-cross" else there name;
  inherit (toolchain) gccArguments;
in
rec {
  gfortran-unwrapped = buildStdenv.mkDerivation (
    gccArguments
    // {
      pname = "${targetPrefix}gfortran";
      outputs = [
        "out"
        "lib"
      ];
      targetLibgcc = toolchain.libgcc;
      debs =
        gccArguments.debs
        ++ [ (here "gfortran-14-${hostPlatform.tools}") ]
        ++ map runtime [
          "libgfortran-14-dev"
          "libgfortran5"
        ];
      installPhase = gccArguments.installPhase + builtins.readFile ./install-fortran.sh;
    }
  );

  gfortran = toolchain.wrap gfortran-unwrapped {
    pname = "${targetPrefix}gfortran-wrapper";
    installPhase = builtins.readFile ./install-cc-wrapper.sh + ''
      wrap gfortran gfortran
    '';
    setupHooks = [
      ./role.bash
      ./fortran-setup-hook.sh
    ];
  };

  # What bootstrap compilers are like: what they link lies at a fixed place unless told otherwise.
  # Across there is no such thing.
  early-gcc-unwrapped =
    if cross then
      toolchain.gcc-unwrapped
    else
      buildStdenv.mkDerivation (
        gccArguments
        // {
          pname = "xgcc";
          configureFlags = lib.without "--enable-default-pie" gccArguments.configureFlags;
          installPhase = gccArguments.installPhase + ''
            mv $out/bin/gcc $out/bin/gcc-pie
            echo "#!${shell}" > $out/bin/gcc
            echo "exec $out/bin/gcc-pie -fno-pie -no-pie \"\$@\"" >> $out/bin/gcc
            chmod +x $out/bin/gcc
          '';
        }
      );

  early-gcc = toolchain.wrap early-gcc-unwrapped {
    # As nixpkgs' does, this wrapper asks a file what to put in front of its own flags.
    wrapper = builtins.toFile "cc-wrapper.sh" (
      builtins.replaceStrings
        [ "exec @prog@ \"\${before[@]}\"" ]
        [
          ''
            extraBefore=("''${before[@]}")
            local=$support/add-local-cc-cflags-before.sh
            [[ ! -e $local ]] || source "$local"
            exec @prog@ "''${extraBefore[@]}"''
        ]
        (builtins.readFile ./cc-wrapper.sh)
    );
  };

  # One program for all targets: the same on whichever machine it runs.
  clang-unwrapped = buildStdenv.mkDerivation {
    pname = "clang";
    version = debian.version buildPlatform.deb "clang-19";
    # What it was built from, by name (Built-Using).
    src = builtins.toFile "llvm-toolchain-19" (debian.version buildPlatform.deb "clang-19");
    debs = map here [
      "clang-19"
      "libclang-common-19-dev"
      "libclang-cpp19"
      "libedit2"
      "libffi8"
      "libgcc-s1"
      "liblzma5"
      "libllvm19"
      "libstdc++6"
      "libtinfo6"
      "libxml2"
      "libz3-4"
      "libzstd1"
      "lld-19"
      "libbsd0"
      "libmd0"
      "zlib1g"
    ];
    buildMultiarch = buildPlatform.multiarch;
    inherit (buildPlatform) dynamicLinker;
    libc = gccArguments.libc;
    configurePlatforms = [ ];
    installPhase = builtins.readFile ./install-clang.sh;
    dontFixup = true;
  };

  clang = toolchain.wrap clang-unwrapped {
    pname = "${targetPrefix}clang-wrapper";
    triple = hostPlatform.multiarch;
    ldWrapper = ./ld-wrapper.sh;
    gccFolder = "${toolchain.gcc-unwrapped}/lib/gcc${lib.optionalString cross "-cross"}/${hostPlatform.multiarch}/14";
    installPhase = builtins.readFile ./install-clang-wrapper.sh;
    setupHooks = [
      ./role.bash
      ./clang-setup-hook.sh
    ];
  };
}
