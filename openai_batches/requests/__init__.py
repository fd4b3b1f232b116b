"""Requests before they are sent: read, built, checked, and packed into shards.

Begin with ``request``, one request, then ``read``, which gives the requests of any source, ``validate``, and
``shards``, which writes the files that are uploaded.
Imports ``storage`` and the top of the package.
"""
