"""Replays question files against an OpenAI endpoint that votes and learns, and measures what it
gained.

    datasets → ask → answers → notation, scoring → metrics → replay → report, plot

Speaks plain OpenAI HTTP; knows nothing of the server's code. True labels never leave this package.
"""
