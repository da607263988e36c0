"""What the operator sees: admin HTTP API, metrics, logs."""
