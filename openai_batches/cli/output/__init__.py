"""What the commands write: text, tables, JSON, files, and live displays.

Begin with ``terminal``, which alone writes to standard output and standard error.
Imports ``cli.errors``.
"""
