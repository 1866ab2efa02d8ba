"""Values of Nix's protocols as JSON and back: the forms (`values`) and their parts (`form`)."""
