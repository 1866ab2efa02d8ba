let
  tool = derivation { name = "tool-1.2"; system = "riscv64-linux"; builder = "/bin/sh"; args = [ "-c" "echo \"quoted\tand\\\\slashed\" > $out\n" ]; outputs = [ "out" "dev" ]; };
  src = derivation { name = "src.tar"; system = "builtin"; builder = "builtin:fetchurl"; url = "http://example.org/src.tar"; outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = builtins.hashString "sha256" "source"; };
  top = derivation { name = "top"; system = "riscv64-linux"; builder = "/bin/sh"; inherit src; tool = tool.dev; text = builtins.toFile "notes" "some notes\n"; };
  fl = derivation { name = "floats"; system = "riscv64-linux"; builder = "/bin/sh"; __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; outputs=["out" "lib"]; };
  user = derivation { name = "user"; system = "riscv64-linux"; builder = "/bin/sh"; a = fl.out; b = fl.lib; };
in { inherit tool src top fl user; }
