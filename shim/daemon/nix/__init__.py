"""nix-daemons: started, connected to, asked."""
