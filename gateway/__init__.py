"""The query surface over the stores."""
