"""Health, allocation, reflex plans, integers, protection: pure functions of policy, evidence and time."""
