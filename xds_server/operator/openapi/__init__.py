"""The HTTP API as an OpenAPI 3.1 document."""
