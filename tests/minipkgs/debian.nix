# What scripts/fetch-minipkgs downloaded, as store paths.  The index pins every hash, so that the
# paths do not depend on where the cache lies.
{ cache }:
let
  home = "${cache}/minipkgs";
  index =
    if builtins.pathExists "${home}/index.json" then
      builtins.fromJSON (builtins.readFile "${home}/index.json")
    else
      throw "minipkgs: `${home}/index.json` is missing: run scripts/fetch-minipkgs";
  # Names of store paths allow less than names of Debian files.
  storeName = builtins.replaceStrings [ "%3a" "~" ] [ "-" "-" ];
  file =
    row:
    builtins.path {
      path = "${home}/${row.file}";
      name = storeName (baseNameOf row.file);
      recursive = false;
      sha256 = row.sha256;
    };
  row =
    architecture: name:
    index.packages.all.${name} or index.packages.${architecture}.${name}
      or (throw "minipkgs: the index has no package `${name}` of `${architecture}`");
in
{
  # A binary package: the .deb of an architecture, and its upstream version.
  deb = architecture: name: file (row architecture name);
  version = architecture: name: (row architecture name).upstream;

  # A source package's upstream archive (the compiler's: its description).
  source = name: {
    file = file index.sources.${name};
    inherit (index.sources.${name}) sha256;
    version = index.sources.${name}.upstream;
    suffix = builtins.head (builtins.match ".*\\.(tar\\.[a-z0-9]+|dsc)" index.sources.${name}.file);
  };

  # A folder with static `bash` and `busybox` for the architecture.
  seeds =
    architecture:
    builtins.path {
      path = "${home}/seeds/${architecture}";
      name = "bootstrap-seeds-${architecture}";
    };
}
