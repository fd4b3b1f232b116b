"""A job as one HTML page, to be read in a browser.

Begin with ``write``. ``figures`` reads the numbers from the journal, ``charts`` draws them as SVG.
Imports ``jobs`` and what it imports.
"""
