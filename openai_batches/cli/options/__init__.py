"""What the options of the commands mean.

Begin with ``service``: which service, and which key; flags, the environment and the configuration file decide.
Imports ``cli.output`` and ``cli.errors``.
"""
