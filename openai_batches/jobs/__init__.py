"""Any number of requests, carried to their results through any crash.

Begin with ``job``, the public class, then ``runner``, which drives the steps: ``plan``, ``submit``, ``collect``,
``reconcile``, ``resend``. Each step is in the ``journal`` before the next is taken.
Imports ``resources`` and what it imports.
"""
