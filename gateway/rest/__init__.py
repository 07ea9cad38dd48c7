"""The gateway by HTTP: FastAPI under /v1, five formats, problems as JSON."""
