"""The SSH server that boards reach: keys become peers, exec lines become sessions of the daemon.

It knows nothing of what is said in a session, touches no store, and runs no program.  The only
place with asyncio; the daemon is met at its Unix socket and nowhere else.
"""
