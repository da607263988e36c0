"""Answers of the admin side as text for people: JSON in, lines for a terminal out. Pure."""
