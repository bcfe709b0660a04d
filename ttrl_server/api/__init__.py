"""The HTTP API: routes, checks of requests, and the forms of responses and errors."""
