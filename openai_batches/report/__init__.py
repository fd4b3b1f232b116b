"""A job as one HTML page, to be read in a browser.

Begin with ``write``, which fills ``page.html``; the tables and charts in it are macros in ``macros.html``.
``figures`` takes the numbers from the journal, and ``charts`` computes what is drawn from them.
Imports ``jobs`` and what it imports; Jinja2 is imported only when a report is written.
"""
