"""Live venues: contract, connections, parsers, continuity, healing and books. One folder a venue."""
