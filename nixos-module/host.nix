# The fast machine: `services.nix-shim`.
#
# Units and their sandboxes are those of shim/units.json, which `nix-shim install` writes elsewhere too.  Boards come
# in by the gateway, which knows their keys and reaches nothing but the daemon's socket.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    literalExpression
    mkDefault
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  cfg = config.services.nix-shim;
  toml = pkgs.formats.toml { };

  stateDirectory = "/var/lib/nix-shim";
  stores = "/run/nix-shim-stores";
  credentials = "/run/credentials";

  # A misspelt key fails the build of the system, not the start of the service.
  file = pkgs.runCommand "nix-shim.toml" { } ''
    ${lib.getExe cfg.package} check-config ${toml.generate "nix-shim-unchecked.toml" cfg.settings}
    cp ${toml.generate "nix-shim-unchecked.toml" cfg.settings} $out
  '';

  hostSubstituter = "local?root=/&trusted=true";
  hostSubstituters = config.nix.settings.substituters or [ "https://cache.nixos.org/" ];
  hostKeys = config.nix.settings.trusted-public-keys or [ ];

  # A store with a nix-daemon unit of its own; `serve` connects to it.
  ownStore = kind: name: {
    root = mkDefault "${folder name}/${kind}";
    start = mkDefault false;
    socket = mkDefault "${stores}/${unitName kind name}";
  };
  folder = name: if name == "default" then stateDirectory else "${stateDirectory}/domains/${name}";
  unitName = kind: name: if name == "default" then kind else "${kind}-${name}";

  serving =
    name:
    if cfg.store == "host" && name == "default" then
      {
        root = mkDefault "/";
        start = mkDefault false;
        socket = mkDefault "/nix/var/nix/daemon-socket/socket";
      }
    else
      ownStore "serving" name
      // {
        settings = {
          substituters = mkDefault (lib.concatStringsSep " " (hostSubstituters ++ [ hostSubstituter ]));
          trusted-public-keys = mkDefault (lib.concatStringsSep " " hostKeys);
        };
      };

  domainSettings = name: {
    serving = serving name;
    plant = ownStore "plant" name;
  };

  # Which of our nix-daemons run as units: kind -> domains.
  domains = [ "default" ] ++ lib.attrNames cfg.domains;
  daemons = lib.concatMap (
    name:
    lib.optional (!(cfg.store == "host" && name == "default")) {
      kind = "serving";
      inherit name;
    }
    ++ [
      {
        kind = "plant";
        inherit name;
      }
    ]
  ) domains;

  units = lib.importJSON ../shim/units.json;
  # The words between @ are filled in for a unit called `name`, of a store of a domain where it belongs to one.
  fill =
    {
      name,
      store ? "",
      domain ? "",
    }:
    let
      words = {
        "@command@" = lib.getExe cfg.package;
        "@config@" = "${file}";
        "@domain@" = domain;
        "@kill@" = "${pkgs.coreutils}/bin/kill";
        "@store@" = store;
        "@unit@" = name;
      };
      go =
        value:
        if lib.isString value then
          lib.replaceStrings (lib.attrNames words) (lib.attrValues words) value
        else if lib.isList value then
          lib.concatMap (each: if each == "@stores@" then map storeSocket daemons else [ (go each) ]) value
        else if lib.isAttrs value then
          lib.mapAttrs (_: go) value
        else
          value;
    in
    go;
  storeSocket = each: "nix-shim-${unitName each.kind each.name}.socket";

  about = unit: {
    description = unit.Unit.Description;
    wantedBy = (unit.Install or { }).WantedBy or [ ];
    unitConfig = removeAttrs unit.Unit [ "Description" ];
  };
  service =
    template: filled: more:
    let
      unit = fill filled units."${template}.service";
    in
    {
      ${filled.name} = lib.mkMerge [
        (about unit)
        {
          path = [
            config.nix.package
            pkgs.util-linux
          ];
          serviceConfig = lib.mapAttrs (_: mkDefault) unit.Service;
        }
        more
      ];
    };
  socket =
    template: filled:
    let
      unit = fill filled units."${template}.socket";
    in
    {
      ${filled.name} = about unit // {
        socketConfig = lib.mapAttrs (_: mkDefault) unit.Socket;
      };
    };
  own = name: service name { inherit name; };
  ofStore = each: {
    name = "nix-shim-${unitName each.kind each.name}";
    store = unitName each.kind each.name;
    domain = each.name;
  };

  needsNetwork = (cfg.settings.sources or { }) != { } || (cfg.settings.metrics.enable or false);
in
{
  options.services.nix-shim = {
    enable = mkEnableOption "nix-shim, a remote builder that cross-compiles native derivations";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The nix-shim to run.";
    };

    settings = mkOption {
      type = types.submodule { freeformType = toml.type; };
      default = { };
      example = {
        policy.cross = true;
        limits.builds = 6;
      };
      description = ''
        The configuration, checked when the system is built; docs/configuration.md has every key.  What the options
        beside this one set can be overridden here.
      '';
    };

    systems = mkOption {
      type = types.listOf types.str;
      default = [ "aarch64-linux" ];
      example = [
        "aarch64-linux"
        "riscv64-linux"
      ];
      description = "Systems of the boards: builds for them are decided here.";
    };

    tables = mkOption {
      type = types.listOf (types.either types.path types.str);
      default = [ ];
      example = [ "/var/lib/nix-shim/boards.table" ];
      description = "Equivalence tables (`nix-shim table`); the first that knows a derivation wins.";
    };

    peers = mkOption {
      type = types.attrsOf (types.submodule { freeformType = toml.type; });
      default = { };
      example = {
        attic.keys = [ "ssh-ed25519 AAAA... root@attic" ];
      };
      description = "Boards by name: their SSH keys (`keys`, `key-files`), `domain`, `systems` and limits.";
    };

    domains = mkOption {
      type = types.attrsOf (types.submodule { freeformType = toml.type; });
      default = { };
      example = {
        guests.uploads = "rederive";
      };
      description = "Trust domains besides the default one, each with stores and nix-daemons of its own.";
    };

    store = mkOption {
      type = types.enum [
        "dedicated"
        "host"
      ];
      default = "dedicated";
      description = ''
        The store that boards see: one below ${stateDirectory} with a nix-daemon of its own, which takes what the host's
        store and the host's binary caches have; or the host's own store and nix-daemon.
      '';
    };

    emulation = mkOption {
      type = types.bool;
      default = true;
      description = "Register emulators for `systems`, so that what does not cross-compile can be built.";
    };

    gateway = mkOption {
      type = types.bool;
      default = true;
      description = "Run the SSH server for `peers`.";
    };

    port = mkOption {
      type = types.port;
      default = 2222;
      description = "TCP port of the SSH server.";
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Open the SSH server's port.";
    };

    hostKeyFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/secrets/nix-shim-host-key";
      description = "Private host key of the SSH server, read by the service manager; null: one is made.";
    };

    signingKeyFiles = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "/run/secrets/nix-shim-checked-1" ];
      description = ''
        Keys that sign what is delivered (`nix-shim keys generate`), named as it names them and read by the service
        manager; none: they are made in the state directory.
      '';
    };

    gc = {
      automatic = mkOption {
        type = types.bool;
        default = true;
        description = "Collect garbage in the stores of nix-shim; the host's own store is left alone.";
      };
      dates = mkOption {
        type = types.str;
        default = "weekly";
        example = "03:15";
        description = "When (systemd.time(7)).";
      };
    };
  };

  config = mkIf cfg.enable {
    services.nix-shim.settings = lib.mkMerge [
      (domainSettings "default")
      {
        socket = mkDefault "/run/nix-shim/socket";
        state-directory = mkDefault stateDirectory;
        inherit (cfg) systems;
        tables = map toString cfg.tables;
        peers = cfg.peers;
        domains = lib.mapAttrs (name: given: lib.mkMerge [ (domainSettings name) given ]) cfg.domains;
        # Root, and the gateway's user: it says which board it speaks for.
        preamble-users = mkDefault [
          0
          config.users.users.nix-shim-gateway.uid
        ];
        gateway.port = cfg.port;
      }
      (mkIf (cfg.hostKeyFile != null) {
        gateway.host-key = mkDefault "${credentials}/nix-shim-gateway.service/host-key";
      })
      (mkIf (cfg.signingKeyFiles != [ ]) {
        key-directory = mkDefault "${credentials}/nix-shim.service";
      })
    ];

    boot.binfmt = mkIf cfg.emulation {
      emulatedSystems = mkDefault cfg.systems;
      preferStaticEmulators = mkDefault true;
    };

    nix.settings.extra-platforms = mkIf (cfg.store == "host") cfg.systems;

    networking.firewall.allowedTCPPorts = mkIf (cfg.gateway && cfg.openFirewall) [ cfg.port ];

    users.users.nix-shim-gateway = {
      isSystemUser = true;
      uid = mkDefault 983;
      group = "nix-shim-gateway";
      description = "nix-shim SSH server";
    };
    users.groups.nix-shim-gateway = { };

    systemd.tmpfiles.rules = [
      "d ${stores} 0700 root root -"
      "d ${stateDirectory} 0711 root root -"
    ];

    systemd.sockets = lib.mkMerge (
      [ (socket "nix-shim" { name = "nix-shim"; }) ]
      ++ map (each: socket "nix-shim-${each.kind}" (ofStore each)) daemons
    );

    systemd.services = lib.mkMerge (
      [
        (own "nix-shim" {
          serviceConfig = lib.mkMerge [
            (mkIf needsNetwork {
              PrivateNetwork = false;
              RestrictAddressFamilies = [
                "AF_UNIX"
                "AF_INET"
                "AF_INET6"
              ];
            })
            (mkIf (cfg.store == "host") { ReadWritePaths = [ "/nix/var/nix/gcroots" ]; })
            (mkIf (cfg.signingKeyFiles != [ ]) {
              LoadCredential = map (path: "${baseNameOf path}:${path}") cfg.signingKeyFiles;
            })
          ];
        })
        (mkIf cfg.gateway (
          own "nix-shim-gateway" {
            serviceConfig = mkIf (cfg.hostKeyFile != null) {
              LoadCredential = [ "host-key:${cfg.hostKeyFile}" ];
            };
          }
        ))
        (mkIf cfg.gc.automatic (own "nix-shim-collect-garbage" { startAt = cfg.gc.dates; }))
      ]
      ++ map (each: service "nix-shim-${each.kind}" (ofStore each) { }) daemons
    );
  };
}
