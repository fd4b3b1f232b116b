"""What the options of the commands mean.

Begin with ``service``: which service, with which key; the environment, the configuration file and the flags decide.
Imports ``cli.output`` and ``cli.errors``.
"""
