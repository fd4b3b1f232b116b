"""Files on the disk: written whole or not at all, compressed, locked, and read line by line.

Begin with ``atomic``, which writes beside a file and renames.
Imports the top of the package only.
"""
