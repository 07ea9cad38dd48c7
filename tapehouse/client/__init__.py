"""The Python client that `tapehouse.connect()` returns; it uses only the gateway's REST API."""
