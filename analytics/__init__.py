"""Copies closed days from QuestDB to ClickHouse: mirror, proof, ledger, ownership, retention."""
