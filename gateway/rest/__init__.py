"""The gateway's REST API: FastAPI under /v1, five formats, errors as problem documents."""
