"""Asks an OpenAI endpoint that votes and learns the questions of files, and measures the gain.

    datasets → ask → scoring → votes, metrics → replay → report, page, plot

Speaks plain OpenAI HTTP; knows nothing of the server's code. True labels never leave this package.
"""


class Unusable(Exception):
    """What the command was given cannot be used: questions, an option, a run's folder, an address,
    a key or a model. One line, which says what to do."""
