"""The schema of every store as numbered SQL files, one table or view a file."""
