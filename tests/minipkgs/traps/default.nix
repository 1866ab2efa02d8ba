# Packages that any rule simpler than replacing per occurrence and slot gets wrong.
{ lib, pkgs, ... }:
let
  inherit (pkgs) stdenv buildPackages;
  inherit (stdenv) mkDerivation;
  cross = stdenv.isCross;

  # A setup hook out of a text with @names@.
  makeSetupHook =
    stdenv:
    {
      name,
      hook,
      substitutions ? { },
      propagatedBuildInputs ? [ ],
    }:
    stdenv.mkDerivation (
      substitutions
      // {
        inherit name propagatedBuildInputs;
        buildCommand = ''
          mkdir -p $out/nix-support
          recordPropagatedDependencies
          substituteAll ${hook} $out/nix-support/setup-hook
        '';
      }
    );

  # A C program in one file.
  program =
    name: attributes:
    mkDerivation (
      {
        pname = name;
        version = "1.0";
        src = ./src + "/${name}";
        buildPhase = ''
          $CC -O2 -o ${name} ${name}.c $libraries
        '';
        installPhase = ''
          mkdir -p $out/bin
          cp ${name} $out/bin/
        '';
      }
      // attributes
    );

  # A C library in one file, with a header of its name.
  library =
    name: attributes:
    mkDerivation (
      {
        pname = name;
        version = "1.0";
        src = ./src + "/${name}";
        outputs = [
          "out"
          "dev"
        ];
        buildPhase = ''
          $CC -O2 -shared -fPIC -Wl,-soname,lib${name}.so.1 -o lib${name}.so.1 ${name}.c $libraries
        '';
        installPhase = ''
          mkdir -p $out/lib $out/include
          cp lib${name}.so.1 $out/lib/
          ln -s lib${name}.so.1 $out/lib/lib${name}.so
          cp ${name}.h $out/include/
          runHook postInstall
        '';
      }
      // attributes
    );
in
rec {
  # ---- hooks --------------------------------------------------------------------------------------

  die-hook = makeSetupHook pkgs.stdenvNoCC {
    name = "die-hook";
    hook = ./hooks/die.sh;
  };

  # Runs while building, so it comes from the build machine's set; the shell it embeds is the host's.
  makeShellWrapper = makeSetupHook buildPackages.stdenvNoCC {
    name = "make-shell-wrapper-hook";
    hook = ./hooks/make-wrapper.sh;
    substitutions.shell = "${pkgs.bash}/bin/bash";
    propagatedBuildInputs = [ buildPackages.die-hook ];
  };

  wrapped = program "wrapped" {
    nativeBuildInputs = [ makeShellWrapper ];
    postFixup = ''
      wrapProgram $out/bin/wrapped --set WRAPPED_GREETING hello
    '';
  };

  # A build tool: stamps a file with a checksum.
  stamp = program "stamp" { };

  # Made by the host's environment, as script hooks of language sets are, so it carries
  # the host's flags; the program it embeds runs while building.
  stampHook = makeSetupHook pkgs.stdenvNoCC {
    name = "stamp-install-hook";
    hook = ./hooks/stamp.sh;
    substitutions.stamp = "${buildPackages.stamp}/bin/stamp";
  };

  stamped = program "stamped" {
    nativeBuildInputs = [ stampHook ];
  };

  # Embeds both: the build machine's tool that it runs, the host's shell that it leaves behind.
  launcherHook = makeSetupHook pkgs.stdenvNoCC {
    name = "launcher-hook";
    hook = ./hooks/launcher.sh;
    substitutions = {
      stamp = "${buildPackages.stamp}/bin/stamp";
      shell = "${pkgs.bash}/bin/bash";
    };
  };

  launched = program "launched" {
    nativeBuildInputs = [ launcherHook ];
  };

  # ---- programs of the host that a build runs ------------------------------------------------------

  # Its `dev` output has a script that is to be run while building against it.
  answer = library "answer" {
    buildInputs = [ pkgs.bash ];
    postInstall = ''
      mkdir -p $out/bin
      {
        echo '#!/bin/sh'
        echo "case \$1 in"
        echo "  --cflags) echo -I$dev/include ;;"
        echo "  --libs) echo -L$out/lib -lanswer ;;"
        echo "esac"
      } > $out/bin/answer-config
      chmod +x $out/bin/answer-config
    '';
  };

  # Runs that script by its path.
  asker = program "asker" {
    buildInputs = [ answer ];
    configureFlags = [ "--with-answer-config=${answer.dev}/bin/answer-config" ];
    configurePhase = ''
      for flag in $configureFlags; do
        case $flag in --with-answer-config=*) config=''${flag#*=} ;; esac
      done
      libraries="$($config --cflags) $($config --libs)"
    '';
  };

  # ---- outputs -------------------------------------------------------------------------------------

  # Has an output more when cross-compiled: a copy of itself for the build machine.
  tabler = program "tabler" (
    {
      outputs = [ "out" ] ++ lib.optional cross "mini";
    }
    // lib.optionalAttrs cross {
      depsBuildBuild = [ buildPackages.stdenv.cc ];
      buildPhase = ''
        $CC -O2 -o tabler tabler.c
        $CC_FOR_BUILD -O2 -o tabler-mini tabler.c
      '';
      installPhase = ''
        mkdir -p $out/bin $mini/bin
        cp tabler $out/bin/
        cp tabler-mini $mini/bin/tabler
      '';
    }
  );

  # Uses that copy as its build tool, where there is one.
  tabled = program "tabled" {
    nativeBuildInputs = [ (if cross then tabler.mini else tabler) ];
    buildPhase = ''
      tabler > table.h
      $CC -O2 -o tabled tabled.c
    '';
  };

  # Debug information in an output of its own.
  debugged = program "debugged" {
    separateDebugInfo = true;
  };

  # ---- the compiler's own libraries ----------------------------------------------------------------

  # C++: libstdc++ lies in another output, and natively in another folder of it.
  words = program "words" {
    buildPhase = ''
      $CXX -O2 -o words words.cc
    '';
  };

  # ---- propagation across two levels ---------------------------------------------------------------

  base1 = library "base1" { };
  middle = library "middle" {
    propagatedBuildInputs = [ base1 ];
    libraries = "-lbase1";
  };
  top = library "top" {
    propagatedBuildInputs = [ middle ];
    libraries = "-lmiddle -lbase1";
  };
  tower = program "tower" {
    buildInputs = [ top ];
    libraries = "-ltop -lmiddle -lbase1";
  };

  # Its users run a tool of the build machine, which its `dev` output brings along.
  needing = library "base1" {
    pname = "needing";
    propagatedNativeBuildInputs = [ buildPackages.stamp ];
  };
  needer = program "stamped" {
    pname = "needer";
    buildInputs = [ needing ];
    preFixup = ''
      stamp $out/bin/stamped > $out/bin/stamped.sum
    '';
  };

  # A tool with a setup hook that runs it.
  stampKit = program "stamp" {
    pname = "stamp-kit";
    setupHook = ./hooks/stamp-kit.sh;
  };

  # Brings it along by a script of its own: no slot of the recipe tells.
  bringing = library "base1" {
    pname = "bringing";
    postFixup = ''
      mkdir -p $dev/nix-support
      echo ${buildPackages.stampKit} >> $dev/nix-support/propagated-native-build-inputs
    '';
  };
  bringer = program "stamped" {
    pname = "bringer";
    buildInputs = [ bringing ];
  };

  # ---- several native forms of one thing ----------------------------------------------------------

  # Natively there are two of it, as bootstrap stages leave behind; across there is one.
  earlyBase = if cross then base1 else library "base1" { stage = "bootstrap"; };
  late = program "late" {
    buildInputs = [ base1 ];
    libraries = "-lbase1";
  };
  early = program "late" {
    pname = "early";
    buildInputs = [ earlyBase ];
    libraries = "-lbase1";
  };

  # ---- what a recipe says about its result ---------------------------------------------------------

  # Lists all that it may refer to, and something that it must not.
  guarded = program "tower" {
    pname = "guarded";
    buildInputs = [ top ];
    libraries = "-ltop -lmiddle -lbase1";
    allowedReferences = [
      pkgs.glibc
      top
      middle
      base1
    ];
    disallowedReferences = [ stdenv.cc ];
  };

  # Links to programs that JSON in a file names, beside a list of all that they reach.
  joined = mkDerivation {
    name = "joined-1.0";
    links = builtins.toJSON [
      {
        paths = [
          tower
          pkgs.bash
        ];
        priority = 5;
      }
    ];
    passAsFile = [ "links" ];
    exportReferencesGraph = [
      "closure"
      tower
    ];
    buildCommand = ''
      mkdir -p $out/bin
      for path in $(grep -o '"/[^"]*"' "$linksPath" | tr -d '"'); do
        ln -s "$path"/bin/* $out/bin/
      done
      grep "^$NIX_STORE/" closure | sort -u > $out/closure
    '';
  };
}
