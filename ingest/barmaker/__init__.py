"""The bar maker: bars of all intervals from the stream, equal to what the store has."""
