"""What the commands print: results on standard output, progress on standard error.

Imported piece by piece: a command that prints JSON does not wait for what a terminal needs.
"""
