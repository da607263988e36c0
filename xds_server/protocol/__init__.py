"""The xDS conversation of one stream as a value, without a socket. Pure."""
