"""Bringing a new policy to a fleet: to a few Envoys first, to the rest when they accept it. Pure."""
