"""Other services that the emulator imitates.

Begin with ``profiles``, one value for each service; ``shaping`` changes the records, ``result_style`` the result files.
Imports the emulator's store, rules, atomic files and JSON values.
"""
