"""What the emulator remembers, in memory and in its data folder.

Begin with ``store``; ``records`` are the values, ``database`` keeps them.
Imports the emulator's rules, keys and clock.
"""
