"""What a client's operation means to us: relayed, judged, absorbed or refused.  No I/O."""
