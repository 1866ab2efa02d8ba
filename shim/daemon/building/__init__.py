"""Builds: shared by all who want them, decided, queued, told, kept."""
