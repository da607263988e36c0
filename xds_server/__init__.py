"""xds-server: the control plane that runs active-active, multi-region systems on Envoy."""

__version__ = "0.1.0"
