# A host and a board in two virtual machines: the board has no emulator, asks for a foreign derivation, and gets it
# through SSH.  Run it with `nix build .#checks.x86_64-linux.vm`, or pkgs.callPackage ./nixos-module/test.nix { }.
{
  lib,
  runCommand,
  openssh,
  testers,
}:
let
  # One key pair for the test; real boards make their own.
  keys = runCommand "board-keys" { nativeBuildInputs = [ openssh ]; } ''
    mkdir $out
    ssh-keygen -q -t ed25519 -N "" -C board -f $out/board
    ssh-keygen -q -t ed25519 -N "" -C host -f $out/host
    base64 -w0 $out/host.pub > $out/host.base64
  '';
  public = file: lib.removeSuffix "\n" (builtins.readFile "${keys}/${file}");
in
testers.runNixOSTest {
  name = "nix-shim";

  nodes.host = {
    imports = [ ./host.nix ];
    services.nix-shim = {
      enable = true;
      openFirewall = true;
      hostKeyFile = "${keys}/host";
      peers.board.keys = [ (public "board.pub") ];
      settings.serving.settings.substituters = "";
    };
    virtualisation.memorySize = 2048;
  };

  nodes.board =
    { pkgs, ... }:
    {
      imports = [ ./board.nix ];
      programs.nix-shim-board = {
        enable = true;
        host = "host";
        publicHostKey = public "host.base64";
        sshKey = "/root/board";
        systems = [ "aarch64-linux" ];
      };
      nix.settings = {
        substituters = lib.mkForce [ ];
        experimental-features = [ "nix-command" ];
      };
      # A static program of the other machine: what the derivation below is built by.
      environment.etc."busybox".source = "${pkgs.pkgsCross.aarch64-multiplatform-musl.busybox}/bin/busybox";
    };

  testScript = ''
    host.wait_for_unit("nix-shim.service")
    host.wait_for_unit("nix-shim-gateway.service")
    host.wait_for_open_port(2222)

    board.succeed("install -m 600 ${keys}/board /root/board")
    board.succeed("nix store ping --store ssh-ng://nix-shim@host?ssh-key=/root/board")
    board.succeed("mkdir /root/bin && cp -L /etc/busybox /root/bin/busybox")
    board.succeed(
        "cat > /root/foreign.nix <<'END'\n"
        "derivation { name = \"foreign\"; system = \"aarch64-linux\"; builder = \"''${/root/bin}/busybox\";\n"
        "  args = [ \"sh\" \"-c\" \"echo made > $out\" ]; }\n"
        "END"
    )
    out = board.succeed("nix-build /root/foreign.nix --no-out-link --max-jobs 0 2>/root/log").strip()
    assert "made" in board.succeed(f"cat {out}")
    assert "nix-shim: foreign" in board.succeed("cat /root/log")
    host.succeed(f"nix path-info --sigs --store 'local?root=/var/lib/nix-shim/serving' {out}")
  '';
}
