# The options of NixOS that nixos-module/ sets, so that both modules can be evaluated without all of NixOS, and a
# typo in one of them is an error.  Types are NixOS's as far as merging and checking go.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  some =
    type: default:
    mkOption {
      inherit type default;
    };
  # Settings of units: lists of several definitions are joined, other values must agree.
  setting = lib.mkOptionType {
    name = "systemd setting";
    merge =
      path: definitions:
      let
        values = map (each: each.value) definitions;
      in
      if lib.isList (builtins.head values) then
        lib.concatLists values
      else if builtins.all (value: value == builtins.head values) values then
        builtins.head values
      else
        throw "${lib.concatStringsSep "." path}: conflicting definitions";
  };
  unit = {
    description = some types.str "";
    wantedBy = some (types.listOf types.str) [ ];
    unitConfig = some (types.attrsOf setting) { };
  };
in
{
  options = {
    assertions = some (types.listOf types.anything) [ ];
    boot.binfmt = {
      emulatedSystems = some (types.listOf types.str) [ ];
      preferStaticEmulators = some types.bool false;
    };
    networking.firewall.allowedTCPPorts = some (types.listOf types.port) [ ];
    nix = {
      package = mkOption { type = types.package; };
      settings = some (types.submodule { freeformType = types.attrsOf types.anything; }) { };
      distributedBuilds = some types.bool false;
      buildMachines = some (types.listOf (
        types.submodule {
          options = {
            hostName = mkOption { type = types.str; };
            protocol = some (types.enum [
              "ssh"
              "ssh-ng"
            ]) "ssh";
            systems = some (types.listOf types.str) [ ];
            sshUser = some (types.nullOr types.str) null;
            sshKey = some (types.nullOr types.str) null;
            maxJobs = some types.int 1;
            speedFactor = some types.int 1;
            supportedFeatures = some (types.listOf types.str) [ ];
            mandatoryFeatures = some (types.listOf types.str) [ ];
            publicHostKey = some (types.nullOr types.str) null;
          };
        }
      )) [ ];
    };
    programs.ssh.extraConfig = some types.str "";
    systemd = {
      tmpfiles.rules = some (types.listOf types.str) [ ];
      services = some (types.attrsOf (
        types.submodule {
          options = unit // {
            path = some (types.listOf types.package) [ ];
            serviceConfig = some (types.attrsOf setting) { };
            startAt = some types.str "";
          };
        }
      )) { };
      sockets = some (types.attrsOf (
        types.submodule {
          options = unit // {
            socketConfig = some (types.attrsOf setting) { };
          };
        }
      )) { };
    };
    users.groups = some (types.attrsOf types.anything) { };
    users.users = some (types.attrsOf (
      types.submodule {
        options = {
          isSystemUser = some types.bool false;
          uid = some (types.nullOr types.int) null;
          group = some types.str "";
          description = some types.str "";
        };
      }
    )) { };
  };
}
