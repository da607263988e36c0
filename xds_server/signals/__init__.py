"""Sources of evidence: each turns the world into observations for the control loop."""
