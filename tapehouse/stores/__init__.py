"""Clients of QuestDB and ClickHouse, and the migrations of their schemas."""
