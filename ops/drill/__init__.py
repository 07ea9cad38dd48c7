"""The fault drill: injects faults into a temporary platform under load, and checks every row."""
