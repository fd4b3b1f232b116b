"""What requests cost: estimated before they are sent, counted afterwards.

Begin with ``prices``, the price of a model, then ``estimate`` and ``bill``.
Imports ``requests``, ``storage`` and the top of the package.
"""
