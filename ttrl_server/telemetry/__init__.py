"""What the outside sees of the inside: event log and metrics."""
