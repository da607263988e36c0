"""One process: its parts put together, what it starts with, and who may speak to it."""
