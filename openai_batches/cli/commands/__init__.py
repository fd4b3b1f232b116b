"""The commands of the program, one module for each.

Begin with ``wait``, a short one. ``cli.command`` makes the app of a command, and ``cli.app`` lists all of them; a new
command is a module here and a line there. Imports the rest of ``cli``.
"""
