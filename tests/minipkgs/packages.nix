# The packages: `base` needs no compiler, `rest` is made from a whole set.
{ lib, debian }:
{
  base =
    { stdenv, glibc }:
    let
      deb = debian.deb stdenv.hostPlatform.deb;
      version = debian.version stdenv.hostPlatform.deb;
      # A program out of its Debian package, patched to load its libraries from the store.
      program =
        {
          pname,
          package,
          install,
          libraries ? [ ],
        }:
        stdenv.mkDerivation {
          inherit pname;
          version = version package;
          srcs = map deb ([ package ] ++ libraries);
          inherit (stdenv.hostPlatform) multiarch dynamicLinker;
          libc = lib.optionalString (package != "bash-static" && package != "busybox-static") glibc.out;
          installPhase = install;
        };
      patched = path: ''
        mkdir -p $out/bin $out/lib
        cp usr/${path} $out/bin/
        for library in usr/lib/$multiarch/*.so.*; do cp -P "$library" $out/lib/; done
        for file in $out/lib/*; do
          [[ -L $file ]] || patchelf --set-rpath $out/lib:$libc/lib "$file"
        done
        patchProgram $out/${path} $out/lib:$libc/lib
        rmdir --ignore-fail-on-non-empty $out/lib
      '';
    in
    {
      bash = program {
        pname = "bash";
        package = "bash-static";
        install = ''
          mkdir -p $out/bin
          cp usr/bin/bash-static $out/bin/bash
          ln -s bash $out/bin/sh
        '';
      };
      busybox = program {
        pname = "busybox";
        package = "busybox-static";
        install = ''
          mkdir -p $out/bin
          cp usr/bin/busybox $out/bin/busybox
          # The list is the program's own: it must not run here when it is another machine's.
          for applet in $(busybox --list); do
            case $applet in
              ar | busybox | sh) ;;
              *) echo "$applet" ;;
            esac
          done | (cd $out/bin && xargs -n 1 ln -s busybox)
        '';
      };
      gnumake = program {
        pname = "gnumake";
        package = "make";
        install = patched "bin/make";
      };
      patchelf = program {
        pname = "patchelf";
        package = "patchelf";
        libraries = [
          "libgcc-s1"
          "libstdc++6"
        ];
        install = patched "bin/patchelf";
      };
    };

  rest =
    pkgs:
    let
      call = file: extra: import file ({ inherit lib debian pkgs; } // extra);
    in
    {
      fetchDebianSource = call ./pkgs/fetch-source.nix { };

      zlib = call ./pkgs/zlib.nix { };
      pigz = call ./pkgs/pigz.nix { };
      lz4 = call ./pkgs/lz4.nix { };
      selfmade = call ./pkgs/selfmade.nix { };
      go = call ./pkgs/go.nix { };
    }
    // call ./pkgs/plain.nix { }
    // call ./pkgs/languages.nix { }
    // call ./traps { }
    // {
      bad = call ./bad { };
    };
}
