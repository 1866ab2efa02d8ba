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
    # What is different with the other C library.
    musl = {
      config = "aarch64-unknown-linux-musl";
      muslArch = "aarch64-linux-musl";
      dynamicLinker = "ld-musl-aarch64.so.1";
    };
  };
  armv7l-linux = {
    config = "armv7l-unknown-linux-gnueabihf";
    cpu = "armv7l";
    kernel = "arm";
    deb = "armhf";
    multiarch = "arm-linux-gnueabihf";
    tools = "arm-linux-gnueabihf";
    dynamicLinker = "ld-linux-armhf.so.3";
  };
  riscv64-linux = {
    config = "riscv64-unknown-linux-gnu";
    cpu = "riscv64";
    kernel = "riscv";
    deb = "riscv64";
    multiarch = "riscv64-linux-gnu";
    tools = "riscv64-linux-gnu";
    dynamicLinker = "ld-linux-riscv64-lp64d.so.1";
  };
}
