"""The mirror: copies closed days to ClickHouse, proves the copies, and expires old days in QuestDB."""
