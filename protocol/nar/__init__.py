"""NAR archives as bytes and events.  Real file trees are packed and unpacked in `shim.filetree`."""
