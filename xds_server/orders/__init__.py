"""Orders of operators: what they are, what they must keep to, how they take effect step by step. Pure."""
