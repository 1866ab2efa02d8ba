# Cross recipes that make something unfit; natively each is a good package.  For the gates.
{ lib, pkgs, ... }:
let
  inherit (pkgs) stdenv buildPackages;
  inherit (stdenv) mkDerivation;
  cross = stdenv.isCross;
  plain = name: attributes: mkDerivation (
    {
      pname = name;
      version = "1.0";
      src = ./src;
      buildPhase = ''
        $CC -O2 -o bad bad.c
      '';
      installPhase = ''
        mkdir -p $out/bin
        cp bad $out/bin/
        runHook postInstall
      '';
    }
    // attributes
  );

  # Made by a shell alone.
  texts =
    name: buildCommand:
    mkDerivation {
      inherit buildCommand;
      pname = name;
      version = "1.0";
    };
  outputs =
    name: more: buildCommand:
    mkDerivation {
      inherit buildCommand;
      pname = name;
      version = "1.0";
      outputs = [ "out" ] ++ more;
    };
  script = interpreter: ''
    mkdir -p $out/bin
    printf '#!%s\n' "${interpreter}" > $out/bin/bad
    chmod +x $out/bin/bad
  '';

  # Prints the store path of a program that runs while building.
  tool = name: "dirname $(dirname $(type -P ${name}))";

  # A static library, with the build machine's compiler at hand.
  objects =
    name: buildPhase:
    mkDerivation {
      inherit buildPhase;
      pname = name;
      version = "1.0";
      src = ./src-small;
      depsBuildBuild = [ buildPackages.stdenv.cc ];
      dontFixup = true;
      installPhase = ''
        mkdir -p $out/lib
        cp libbad.a $out/lib/
      '';
    };
in
{
  # Installs a program of the build machine.
  wrongArch = plain "wrong-arch" (
    lib.optionalAttrs cross {
      depsBuildBuild = [ buildPackages.stdenv.cc ];
      buildPhase = ''
        $CC_FOR_BUILD -O2 -o bad bad.c
      '';
    }
  );

  # Keeps the path of the cross libc, which it learns from the compiler, where no recipe shows it.
  crossLibc = plain "cross-libc" {
    postInstall =
      if cross then
        ''
          readlink -f ${pkgs.gcc-unwrapped}/${stdenv.hostPlatform.multiarch}/lib/libc.so.6 > $out/libc
        ''
      else
        ''
          echo ${pkgs.glibc}/lib/libc.so.6 > $out/libc
        '';
  };

  # Has an output less when cross-compiled.
  missingOutput = plain "missing-output" (
    if cross then
      { }
    else
      {
        outputs = [
          "out"
          "doc"
        ];
        postInstall = ''
          mkdir -p $doc
          cp bad.c $doc/
        '';
      }
  );

  # Declares an output that its cross build does not make.
  unmadeOutput = plain "unmade-output" {
    outputs = [
      "out"
      "doc"
    ];
    postInstall = lib.optionalString (!cross) ''
      mkdir -p $doc
      cp bad.c $doc/
    '';
  };

  # ---- references ---------------------------------------------------------------------------------

  # Names a build tool in plain text.
  leakPlain = texts "leak-plain" ''
    mkdir -p $out/share
    ${tool "make"} > $out/share/make
  '';

  # Names it in a compressed file, which no repair touches.
  leakGzip = texts "leak-gzip" ''
    mkdir -p $out/share
    ${tool "make"} | gzip > $out/share/make.gz
  '';

  # Names it in a compressed debug section, as the folder it was compiled in.
  leakDebug = plain "leak-debug" {
    src = ./src-small;
    dontFixup = true;
    buildPhase = ''
      folder=$(${tool "make"})/$(printf '%0999d' 0)
      $CC -g -gz=zlib -O2 -fdebug-prefix-map="$PWD=$folder" -o bad main.c small.c
    '';
  };

  # ---- elf ----------------------------------------------------------------------------------------

  # An object of the build machine in a static library.
  foreignObject = objects "foreign-object" ''
    $CC -O2 -c small.c
    ${if cross then "$CC_FOR_BUILD" else "$CC"} -O2 -c -o foreign.o small.c
    $AR rcs libbad.a small.o foreign.o
  '';

  # For armv7l: floats in the processor's integer registers.
  softFloat = objects "soft-float" ''
    $CC -O2 -c ${lib.optionalString cross "-mfloat-abi=softfp"} small.c
    $AR rcs libbad.a small.o
  '';

  # Programs of the build machine in a kernel's build tree: allowed there, and told.  They load the
  # build machine's C library, whose place a repair gives to the native one: they do not run either way.
  kernel = mkDerivation {
    pname = "linux";
    version = "6.0";
    src = ./src-small;
    depsBuildBuild = [ buildPackages.stdenv.cc ];
    dontFixup = true;
    outputs = [
      "out"
      "dev"
    ];
    buildPhase = ''
      $CC -O2 -c -o Image.o small.c
      ${if cross then "$CC_FOR_BUILD" else "$CC"} -O2 -o modpost main.c small.c
    '';
    installPhase = ''
      scripts=$dev/lib/modules/6.0/build/scripts/mod
      mkdir -p $scripts $out/lib/modules/6.0
      cp modpost $scripts/
      cp Image.o $out/lib/modules/6.0/image.ko
    '';
  };

  # ---- loading ------------------------------------------------------------------------------------

  # Searches libraries in a folder that only cross compilers have.
  crossRunpath = plain "cross-runpath" {
    dontFixup = true;
    buildPhase = ''
      $CC -O2 -o bad bad.c ${
        lib.optionalString cross "-Wl,-rpath,${pkgs.glibc}/${stdenv.hostPlatform.config}/lib"
      }
    '';
  };

  # Needs a library that it does not install.
  needsNobody = plain "needs-nobody" {
    buildPhase = ''
      $CC -O2 -shared -fPIC -Wl,-soname,libgone.so.1 -o libgone.so bad.c
      $CC -O2 -o bad bad.c -Wl,--no-as-needed -L. -lgone
    '';
    postInstall = lib.optionalString (!cross) ''
      mkdir $out/lib
      cp libgone.so $out/lib/libgone.so.1
      patchelf --add-rpath $out/lib $out/bin/bad
    '';
  };

  # Was linked to a newer library than it is installed with.
  tooNew = plain "too-new" {
    src = ./src-small;
    dontFixup = true;
    buildPhase = ''
      echo 'V_1 { global: twice; };' > one.map
      echo 'V_1 { }; V_2 { global: twice; };' > two.map
      for version in one two; do
        mkdir $version
        $CC -O2 -shared -fPIC -Wl,-soname,libsmall.so.1,--version-script=$version.map \
          -o $version/libsmall.so small.c
      done
      $CC -O2 -o bad main.c -Ltwo -lsmall -Wl,-rpath,$out/lib
    '';
    postInstall = ''
      mkdir $out/lib
      cp ${if cross then "one" else "two"}/libsmall.so $out/lib/libsmall.so.1
    '';
  };

  # ---- scripts ------------------------------------------------------------------------------------

  # Scripts that nobody patched: counted, and left to the target.
  unpatchedShebang = texts "unpatched-shebang" (script "/usr/bin/env sh");

  # Runs the build machine's shell; a repair puts the native one there.
  foreignShebang = texts "foreign-shebang" (script "$SHELL");

  # Runs a program that does not exist.
  missingShebang = texts "missing-shebang" (
    script (if cross then "$out/bin/interpreter" else "$SHELL")
  );

  # ---- leaks --------------------------------------------------------------------------------------

  # Installed configuration names the compiler by its cross prefix.
  toolPrefix = texts "tool-prefix" ''
    mkdir -p $out/bin
    echo 'CC=${stdenv.cc.targetPrefix}gcc' > $out/bin/bad-config
  '';

  # Installed configuration names the machine that it was built on.
  buildTriple = texts "build-triple" ''
    mkdir -p $out/lib/pkgconfig
    echo 'host=${stdenv.buildPlatform.config}' > $out/lib/pkgconfig/bad.pc
  '';

  # A script that looks for itself where it was built.
  buildFolder = texts "build-folder" ''
    ${script "/bin/sh"}
    echo '${lib.optionalString cross "/build/source/"}bad' >> $out/bin/bad
  '';

  # ---- outputs, shape and containers ----------------------------------------------------------------

  # Makes an output more than its native form.
  extraOutput = outputs "extra-output" (lib.optional cross "doc") ''
    echo text > $out
    ${lib.optionalString cross "echo text > $doc"}
  '';

  # Makes an output with nothing in it.
  emptyOutput = outputs "empty-output" [ "doc" ] ''
    echo text > $out
    mkdir $doc
    ${lib.optionalString (!cross) "echo text > $doc/text"}
  '';

  # A generator that did not run left an empty page.
  emptyPage = texts "empty-page" ''
    mkdir -p $out/share/man/man1
    echo ${lib.optionalString (!cross) "text"} | tr -d '\n' > $out/share/man/man1/bad.1
  '';

  # A link to a program that only the native build makes.
  dangling = texts "dangling" ''
    mkdir -p $out/bin
    ln -s real $out/bin/bad
    ${lib.optionalString (!cross) "echo text > $out/bin/real"}
  '';

  # A container that nobody can look into.
  opaque = texts "opaque" ''
    mkdir -p $out/share
    printf '7z\274\257\047\034contents' > $out/share/bad.7z
  '';
}
