"""Each learning claim as a command that lets a small model learn and shows what it learned,
beside its control."""
