"""What the commands print: text, tables, JSON, files, and pictures that change.

Begin with ``terminal``, which alone writes to standard output and standard error.
Imports ``cli.errors``.
"""
