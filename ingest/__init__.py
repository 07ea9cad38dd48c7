"""Everything that brings ticks in: feeds, publisher, writer, quarantine."""
