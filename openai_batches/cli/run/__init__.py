"""The parts of the command ``run``.

Begin with ``run``, the steps of the command; ``plan`` says what will be sent, ``display`` shows how it goes.
Imports ``cli.options``, ``cli.output`` and ``cli.errors``.
"""
