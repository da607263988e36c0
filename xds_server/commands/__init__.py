"""Commands that are more than a call into the package."""
