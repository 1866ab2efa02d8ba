# The fast machine: `services.nix-shim`.
#
# The daemon runs as root because it starts nix-daemons, whose sandboxes need it.  Boards reach it through
# OpenSSH: each key of `boards` may run `nix-shim stdio` under its board's name and nothing else.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nix-shim;
  toml = pkgs.formats.toml { };
  file = toml.generate "nix-shim.toml" cfg.settings;
in
{
  options.services.nix-shim = {
    enable = lib.mkEnableOption "nix-shim, a remote builder that cross-compiles native derivations";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The nix-shim to run.";
    };

    settings = lib.mkOption {
      type = lib.types.submodule { freeformType = toml.type; };
      default = { };
      example = {
        systems = [ "aarch64-linux" ];
        tables = [ "/var/lib/nix-shim/system.table" ];
        policy.cross = true;
      };
      description = "The configuration; every key is described in shim/config.py.";
    };

    boards = lib.mkOption {
      type = lib.types.attrsOf (lib.types.listOf lib.types.str);
      default = { };
      example = {
        attic = [ "ssh-ed25519 AAAA... root@attic" ];
      };
      description = "Boards by name, and the SSH keys that speak for each.";
    };

    user = lib.mkOption {
      type = lib.types.str;
      default = "nix-shim";
      description = "The user that boards log in as.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.nix-shim.settings = {
      socket = lib.mkDefault "/run/nix-shim/socket";
      state-directory = lib.mkDefault "/var/lib/nix-shim";
      systems = lib.mkDefault [ "aarch64-linux" ];
      serving.root = lib.mkDefault "/var/lib/nix-shim/serve";
      plant.root = lib.mkDefault "/var/lib/nix-shim/plant";
      # The user of the key lines below may say which board it speaks for.
      preamble-users = lib.mkDefault [
        0
        config.users.users.${cfg.user}.uid
      ];
    };

    boot.binfmt.emulatedSystems = lib.mkDefault cfg.settings.systems;
    boot.binfmt.preferStaticEmulators = lib.mkDefault true;

    users.users.${cfg.user} = {
      isSystemUser = true;
      uid = lib.mkDefault 983;
      group = cfg.user;
      shell = pkgs.bashInteractive;
      openssh.authorizedKeys.keys = lib.concatLists (
        lib.mapAttrsToList (
          name: keys:
          map (
            key:
            "command=\"${lib.getExe cfg.package} stdio --socket ${cfg.settings.socket} --peer ${name}\",restrict ${key}"
          ) keys
        ) cfg.boards
      );
    };
    users.groups.${cfg.user} = { };

    systemd.services.nix-shim = {
      description = "nix-shim, remote builder for slow foreign machines";
      wantedBy = [ "multi-user.target" ];
      after = [
        "network.target"
        "systemd-binfmt.service"
      ];
      path = [
        config.nix.package
        pkgs.util-linux
      ];
      serviceConfig = {
        ExecStart = "${lib.getExe cfg.package} serve --config ${file} --log-style json";
        StateDirectory = "nix-shim";
        StateDirectoryMode = "0711";
        RuntimeDirectory = "nix-shim";
        Restart = "on-failure";
        RestartSec = 5;
        # A build must not be killed with its shim half way through an import.
        TimeoutStopSec = 60;
        KillMode = "mixed";
        LimitNOFILE = 65536;
        Delegate = true;
        ProtectHome = true;
        PrivateTmp = true;
        UMask = "0022";
      };
    };
  };
}
