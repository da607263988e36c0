"""Policy text in, a `Policy` value or every error at once out. Pure."""
