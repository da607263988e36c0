"""The agents' API: generated messages, and a client."""
