# Sourced by every scenario: what is built, and short names.
export NIX_REMOTE=$SOCKET_STORE
# Small derivations; `/bin/sh` and its libraries come from the machine by `sandbox-paths`.
cat >"$WORK/things.nix" <<'NIX'
let
  sh = extra: script: derivation ({
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-c" script ];
  } // extra);
  ca = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
in rec {
  input = sh { name = "input"; } "echo input > $out";
  tree = sh { name = "tree"; inherit input; outputs = [ "out" "dev" ]; note = "tab\tquote\"line\nä"; }
    ''
      echo built with $input
      PATH=/bin:/usr/bin
      mkdir $out $out/bin $dev
      printf '#!/bin/sh\n' > $out/bin/run
      chmod +x $out/bin/run
      ln -s $input $out/link
      : > $out/empty
      echo $out > $dev/back
    '';
  fixed = sh { name = "fixed"; outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = builtins.hashString "sha256" "fixed\n"; }
    "echo fixed > $out";
  mismatch = sh { name = "mismatch"; outputHashMode = "recursive"; outputHashAlgo = "sha1"; outputHash = builtins.hashString "sha1" "else"; }
    "echo fixed > $out";
  failing = sh { name = "failing"; } "echo this does not go well; exit 3";
  above = sh { name = "above"; inherit failing; } "echo never > $out";
  slow = sh { name = "slow"; } "echo slowly; PATH=/bin:/usr/bin; sleep 60; echo done > $out";
  absent = sh { name = "absent"; } "echo no output";
  foreign = sh { name = "foreign"; system = "m68k-linux"; } "echo no such machine";
  floating = sh ({ name = "floating"; outputs = [ "out" "doc" ]; } // ca) "echo floating > $out; echo doc > $doc";
  resting = sh ({ name = "resting"; inherit floating; } // ca) "echo on $floating > $out";
  structured = sh { name = "structured"; builder = "/bin/bash"; __structuredAttrs = true; list = [ 1 "two" ]; } ". ./.attrs.sh; echo \${list[1]} > \${outputs[out]}";
}
NIX
thing() { nix-instantiate "$WORK/things.nix" -A "$1" 2>/dev/null; }
