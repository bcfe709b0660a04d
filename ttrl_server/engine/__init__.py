"""vLLM from the outside: start and watch it, call it, hold its adapters, swap them while it
serves."""
