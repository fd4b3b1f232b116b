"""The emulator's HTTP side: routes, forms, parameters and limits.

Begin with ``app``, which lists the routes; each ``*_routes`` holds the operations of one resource.
Imports the rest of the emulator but ``server``.
"""
