"""What happened and what was decided, kept so that it can be asked for later."""
