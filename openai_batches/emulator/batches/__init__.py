"""The life of a batch in the emulator: validated, carried out, ended, and deleted.

Begin with ``lifecycle``, then ``execution``, which answers line after line.
Imports the emulator's faults, executors, validation and store.
"""
