"""Which strategies may answer a wanted derivation, in order, each with its reason.  No I/O."""
