"""vLLM from the outside: start and watch it, call it, lease its adapters, swap them while it serves."""
