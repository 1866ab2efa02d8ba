"""Recordings of sessions: a file format, and what was said in them.  Opens no files."""
