"""Event log, metrics and traffic summary of the gateway."""
