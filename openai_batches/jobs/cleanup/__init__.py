"""What jobs leave at the service, found and deleted.

``leftovers`` are the files of one job; ``doctor`` looks at everything of an account.
Imports ``jobs.journal`` and ``resources``.
"""
