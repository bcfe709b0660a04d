"""The whole loop on one machine without a GPU: a small real model learns its times tables while it
serves.

python -m demo.run
"""
