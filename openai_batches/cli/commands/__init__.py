"""The commands of the program, one file each.

Begin with ``list``, a short one; ``cli.command`` makes them and ``cli.app`` names them.
Imports the rest of ``cli``.
"""
