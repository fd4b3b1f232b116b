"""Faults that the emulator makes on demand.

Begin with ``faults``, what a test uses, then ``kinds``, the list of all faults; the other modules carry them out.
Imports the emulator's profiles, validation, executors and store.
"""
