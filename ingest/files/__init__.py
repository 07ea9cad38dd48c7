"""Files of ticks: formats, columns and times, read as batches of the model."""
