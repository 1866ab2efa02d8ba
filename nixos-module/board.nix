# A board: `programs.nix-shim-board` turns one host and its key into what Nix needs to use it as a builder.
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
  cfg = config.programs.nix-shim-board;
  sockets = "/run/nix-shim-board";
in
{
  options.programs.nix-shim-board = {
    enable = mkEnableOption "building on a machine that runs nix-shim";

    host = mkOption {
      type = types.str;
      example = "fast-machine";
      description = "Name or address of the fast machine.  Never `localhost`: Nix bypasses SSH for that name.";
    };

    publicHostKey = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''
        What `nix-shim gateway --config FILE --show-host-key` prints as publicHostKey; null: known_hosts is asked.
      '';
    };

    port = mkOption {
      type = types.port;
      default = 2222;
      description = "TCP port of its SSH server.";
    };

    user = mkOption {
      type = types.str;
      default = "nix-shim";
      description = "The user to log in as; nix-shim's own SSH server goes by keys only.";
    };

    sshKey = mkOption {
      type = types.str;
      default = "/root/.ssh/id_ed25519";
      description = "Private key on the board.";
    };

    protocol = mkOption {
      type = types.enum [
        "ssh-ng"
        "ssh"
      ];
      default = "ssh-ng";
      description = "With `ssh-ng` the graph of a derivation is sent along, and checked; `ssh` is for Nix before 2.4.";
    };

    systems = mkOption {
      type = types.listOf types.str;
      default = [ pkgs.stdenv.hostPlatform.system ];
      defaultText = literalExpression "[ pkgs.stdenv.hostPlatform.system ]";
      description = "Systems to build there.";
    };

    maxJobs = mkOption {
      type = types.ints.positive;
      default = 8;
      description = "Builds that the board hands out at once; the shim has limits and a queue of its own.";
    };

    speedFactor = mkOption {
      type = types.ints.positive;
      default = 10;
      description = "How it is preferred to other builders.";
    };

    features = mkOption {
      type = types.listOf types.str;
      default = [
        "big-parallel"
        "benchmark"
      ];
      description = "System features that the builder is asked for.";
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.host != "localhost";
        message = "programs.nix-shim-board.host: Nix runs the remote program directly for `localhost`, without SSH";
      }
    ];

    nix.distributedBuilds = true;
    nix.settings.builders-use-substitutes = mkDefault true;
    nix.buildMachines = [
      {
        hostName = cfg.host;
        sshUser = cfg.user;
        supportedFeatures = cfg.features;
        inherit (cfg)
          maxJobs
          protocol
          publicHostKey
          speedFactor
          sshKey
          systems
          ;
      }
    ];

    # Without keep-alives a dead connection blocks its slot for ever: Nix has no time-out for build hooks.  The alias
    # makes ssh look the key up by name alone, as Nix writes it, whatever the port.
    programs.ssh.extraConfig = ''
      Host ${cfg.host}
        Port ${toString cfg.port}
        HostKeyAlias ${cfg.host}
        ServerAliveInterval 30
        ServerAliveCountMax 4
        ConnectTimeout 10
        ControlMaster auto
        ControlPath ${sockets}/%C
        ControlPersist 60
    '';
    systemd.tmpfiles.rules = [ "d ${sockets} 0700 root root -" ];
  };
}
