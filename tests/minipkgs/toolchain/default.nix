# The compiler, C library and linker of one (build, host) pair, out of Debian's packages.
{
  lib,
  debian,
  # Makes things that run on the build platform; has no compiler.
  buildStdenv,
  # Makes things that run on the host platform; has no compiler.  The same natively.
  hostStdenv,
  # The build platform's own C library, which its tools link to; null: the one made here.
  buildGlibc ? null,
  # Makes another C library with `hostStdenv`; null: glibc.
  otherLibc ? null,
  # Wrappers are scripts of this shell.
  shell,
}:
let
  inherit (hostStdenv) buildPlatform hostPlatform;
  cross = hostStdenv.isCross;
  targetPrefix = lib.optionalString cross "${hostPlatform.config}-";
  suffixSalt = builtins.replaceStrings [ "-" "." ] [ "_" "_" ] hostPlatform.config;
  here = debian.deb buildPlatform.deb;
  there = debian.deb hostPlatform.deb;
  hereVersion = debian.version buildPlatform.deb;

  # The target's run-time libraries: Debian builds those of a cross compiler with that compiler.
  runtime = name: if cross then debian.deb "all" "${name}-${hostPlatform.deb}-cross" else there name;

  compiler = [
    "--target=${hostPlatform.config}"
    "--enable-default-pie"
  ];

  # What compilers and binutils load; kept beside them.
  toolLibraries = map here [
    "zlib1g"
    "libzstd1"
    "libjansson4"
    "libsframe1"
  ];
in
rec {
  glibc = if otherLibc != null then otherLibc hostStdenv else hostStdenv.mkDerivation {
    pname = "glibc";
    version = debian.version hostPlatform.deb "libc6";
    outputs = [
      "out"
      "dev"
    ];
    srcs = [
      (there "libc6")
      (there "libc6-dev")
      (debian.deb "all" "linux-libc-dev")
    ];
    inherit (hostPlatform) multiarch dynamicLinker kernel;
    installPhase = builtins.readFile ./install-glibc.sh;
    dontFixup = true;
  };

  binutils-unwrapped = buildStdenv.mkDerivation {
    pname = "${targetPrefix}binutils";
    version = hereVersion "binutils-${hostPlatform.tools}";
    srcs = [
      (here "binutils-${hostPlatform.tools}")
    ]
    ++ map here (
      [
        "libctf0"
        "libctf-nobfd0"
      ]
      ++ lib.optional (!cross) "libbinutils"
    )
    ++ toolLibraries;
    inherit (hostPlatform) multiarch;
    buildMultiarch = buildPlatform.multiarch;
    inherit (buildPlatform) dynamicLinker;
    inherit targetPrefix;
    libc = if buildGlibc == null then glibc else buildGlibc;
    configurePlatforms = lib.optionals cross [
      "build"
      "host"
    ];
    configureFlags = lib.optional cross "--target=${hostPlatform.config}";
    installPhase = builtins.readFile ./install-binutils.sh;
    dontFixup = true;
  };

  bintools = buildStdenv.mkDerivation {
    pname = "${targetPrefix}binutils-wrapper";
    inherit (binutils-unwrapped) version;
    wrapperName = "BINTOOLS_WRAPPER";
    bintools_bin = binutils-unwrapped;
    libc_lib = glibc.out;
    libc_dev = glibc.dev;
    dynamicLinker = "${glibc.out}/lib/${hostPlatform.dynamicLinker}";
    inherit shell targetPrefix suffixSalt;
    ldWrapper = ./ld-wrapper.sh;
    default_hardening_flags_str = "bindnow relro";
    unpackPhase = "true";
    dontBuild = true;
    dontConfigure = true;
    preferLocalBuild = true;
    installPhase = builtins.readFile ./install-bintools-wrapper.sh;
    postFixup = ''
      echo "-L${glibc.out}/lib" >> $out/nix-support/libc-ldflags
    '';
    setupHooks = [
      ./role.bash
      ./bintools-setup-hook.sh
    ];
  };

  # The C library's companion that the compiler's own code needs; apart, as in nixpkgs' cross sets.
  libgcc =
    if !cross then
      gcc-unwrapped.libgcc
    else
      hostStdenv.mkDerivation {
        pname = "libgcc";
        version = hereVersion "gcc-14-${hostPlatform.tools}";
        src = runtime "libgcc-s1";
        libc = glibc.out;
        inherit (hostPlatform) multiarch;
        installPhase = builtins.readFile ./install-libgcc.sh;
        dontFixup = true;
      };

  gcc-unwrapped = buildStdenv.mkDerivation gccArguments;
  gccArguments = {
    pname = "${targetPrefix}gcc";
    version = hereVersion "gcc-14-${hostPlatform.tools}";
    outputs = [
      "out"
      "lib"
    ]
    ++ lib.optional (!cross) "libgcc";
    # What both a native and a cross compiler of Debian's are built from (Built-Using).
    src = (debian.source "gcc-14").file;
    debs =
      map (name: here "${name}-${hostPlatform.tools}") [
        "gcc-14"
        "cpp-14"
        "g++-14"
      ]
      ++ map runtime [
        "libgcc-14-dev"
        "libgcc-s1"
        "libstdc++-14-dev"
        "libstdc++6"
      ]
      ++ map here [
        "libgmp10"
        "libmpfr6"
        "libmpc3"
        "libisl23"
      ]
      ++ toolLibraries;
    buildMultiarch = buildPlatform.multiarch;
    inherit (buildPlatform) dynamicLinker;
    inherit (hostPlatform) multiarch;
    inherit targetPrefix;
    targetConfig = lib.optionalString cross hostPlatform.config;
    # What the compiler itself links to, and what the programs it makes link to.
    libc = if buildGlibc == null then glibc.out else buildGlibc.out;
    targetLibc = glibc.out;
    targetLibcDev = lib.optionalString cross glibc.dev;
    targetLibgcc = lib.optionalString cross libgcc;
    # Baked in: a cross compiler calls this linker whatever wraps the compiler.
    targetBintools = lib.optionalString cross bintools;
    configurePlatforms = lib.optionals cross [
      "build"
      "host"
    ];
    configureFlags = compiler;
    installPhase = builtins.readFile ./install-gcc.sh;
    dontFixup = true;
  };

  cc = wrap gcc-unwrapped { };
  wrap = compiler: more: buildStdenv.mkDerivation ({
    pname = "${targetPrefix}gcc-wrapper";
    inherit (compiler) version;
    wrapperName = "CC_WRAPPER";
    cc = compiler;
    inherit bintools;
    libc_lib = glibc.out;
    libc_dev = glibc.dev;
    inherit shell targetPrefix suffixSalt;
    wrapper = ./cc-wrapper.sh;
    default_hardening_flags_str = "fortify pic stackprotector";
    unpackPhase = "true";
    dontBuild = true;
    dontConfigure = true;
    preferLocalBuild = true;
    propagatedBuildInputs = [ bintools ];
    installPhase = builtins.readFile ./install-cc-wrapper.sh;
    postFixup =
      let
        inherit (if compiler ? lib then compiler else gcc-unwrapped) lib;
        libraries = if cross then "${lib}/${hostPlatform.config}/lib" else "${lib}/lib";
      in
      ''
        ln -s $bintools/nix-support/dynamic-linker $out/nix-support/dynamic-linker
        echo "-B${glibc.out}/lib/" >> $out/nix-support/libc-crt1-cflags
        echo "-idirafter ${glibc.dev}/include" >> $out/nix-support/libc-cflags
        echo "-L${glibc.out}/lib" >> $out/nix-support/libc-ldflags
        echo "-B${libraries} -L${libraries}" >> $out/nix-support/cc-ldflags
        echo "${glibc.out}" > $out/nix-support/orig-libc
        echo "${glibc.dev}" > $out/nix-support/orig-libc-dev
      '';
    setupHooks = [
      ./role.bash
      ./cc-setup-hook.sh
    ];
    passthru = {
      libc = glibc;
      inherit targetPrefix;
    };
  } // more);

  # Another set of flags, for compilers that are no gcc.
  inherit targetPrefix;
}
