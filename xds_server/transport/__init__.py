"""gRPC streams: bytes in and out, no decisions."""
