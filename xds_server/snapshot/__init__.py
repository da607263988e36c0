"""The only place that builds Envoy messages: a decision in, immutable resources out. Pure."""
