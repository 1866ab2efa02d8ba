# What the package set knows of each platform; `deb`, `multiarch` and `tools` are Debian's names for it, `kernel` is the
# kernel's.
builtins.mapAttrs (system: platform: platform // { inherit system; }) {
  x86_64-linux = {
    config = "x86_64-unknown-linux-gnu";
    cpu = "x86_64";
    kernel = "x86";
    deb = "amd64";
    multiarch = "x86_64-linux-gnu";
    tools = "x86-64-linux-gnu";
    dynamicLinker = "ld-linux-x86-64.so.2";
  };
  aarch64-linux = {
    config = "aarch64-unknown-linux-gnu";
    cpu = "aarch64";
    kernel = "arm64";
    deb = "arm64";
    multiarch = "aarch64-linux-gnu";
    tools = "aarch64-linux-gnu";
    dynamicLinker = "ld-linux-aarch64.so.1";
  };
}
