"""The writer: from the stream into QuestDB."""
