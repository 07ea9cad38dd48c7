"""The stream: the connection to NATS, the messages on it, leases, and the progress of its readers."""
