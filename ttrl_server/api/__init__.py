"""The OpenAI face: what a client may send, what it gets back, and in which shape things go
wrong."""
