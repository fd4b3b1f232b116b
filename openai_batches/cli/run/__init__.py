"""The parts of the command ``run``.

Begin with ``run``, the steps of the command; ``plan`` says what will be sent, ``display`` shows the progress.
Imports ``cli.options``, ``cli.output``, ``cli.explain``, ``cli.advice``, ``cli.logs`` and ``cli.errors``.
"""
