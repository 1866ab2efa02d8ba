# A board: `programs.nix-shim-board` turns one host into what Nix needs to use it as a builder.
{ config, lib, ... }:
let
  cfg = config.programs.nix-shim-board;
in
{
  options.programs.nix-shim-board = {
    enable = lib.mkEnableOption "building on a machine that runs nix-shim";

    host = lib.mkOption {
      type = lib.types.str;
      example = "fast-machine";
      description = "Host name of the fast machine.  Never `localhost`: Nix bypasses SSH for that name.";
    };

    publicHostKey = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      description = "Its SSH host key, base64 of the key line (`base64 -w0 /etc/ssh/ssh_host_ed25519_key.pub`).";
    };

    user = lib.mkOption {
      type = lib.types.str;
      default = "nix-shim";
      description = "The user to log in as.";
    };

    sshKey = lib.mkOption {
      type = lib.types.str;
      default = "/root/.ssh/id_ed25519";
      description = "Private key on the board.";
    };

    systems = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ "aarch64-linux" ];
      description = "Systems to build there.";
    };

    maxJobs = lib.mkOption {
      type = lib.types.ints.positive;
      default = 8;
      description = "Builds that the board hands out at once; the shim queues by itself.";
    };

    features = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [
        "big-parallel"
        "benchmark"
      ];
      description = "System features that the builder is asked for.";
    };
  };

  config = lib.mkIf cfg.enable {
    nix.distributedBuilds = true;
    nix.settings.builders-use-substitutes = lib.mkDefault true;
    nix.buildMachines = [
      {
        hostName = cfg.host;
        protocol = "ssh-ng";
        sshUser = cfg.user;
        inherit (cfg)
          sshKey
          systems
          maxJobs
          publicHostKey
          ;
        supportedFeatures = cfg.features;
      }
    ];
    # A dead connection blocks its slot for ever otherwise: Nix has no time-out for build hooks.
    programs.ssh.extraConfig = ''
      Host ${cfg.host}
        ServerAliveInterval 30
        ServerAliveCountMax 4
        ConnectTimeout 10
    '';
  };
}
