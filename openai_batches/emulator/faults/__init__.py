"""Faults that the emulator makes on demand.

Begin with ``faults``, what a test uses, then ``kinds``, the registry, and ``aim``, what all faults have in common.
A new kind is a constructor with the decorator ``kind``, a function that carries it out, and a small class for its
parameters if it takes any; the other modules hold one family of kinds each.
Imports the emulator's answers, validation and store.
"""
