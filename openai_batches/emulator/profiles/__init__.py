"""Other services that the emulator plays.

Begin with ``profiles``, one value for each service; ``shaping`` changes the records, ``paths`` the addresses.
Imports the emulator's JSON values.
"""
