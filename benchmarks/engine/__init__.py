"""One place where processes are started, followed and ended."""
