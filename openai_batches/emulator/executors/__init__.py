"""What answers the lines of a batch in the emulator.

Begin with ``executor``, the interface; ``echo``, ``script`` and ``upstream`` are its three kinds.
Imports the emulator's answers and JSON values.
"""
