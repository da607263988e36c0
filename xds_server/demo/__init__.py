"""The demo: mock regions, real Envoys, a load, faults, a report."""
