"""Live data over WebSockets."""
