"""What `nix-shim doctor` looks at: each module names its checks in a table, in the order shown."""
