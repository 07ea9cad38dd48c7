"""The Python client: what `tapehouse.connect()` gives. It speaks REST to the gateway and needs no other part."""
