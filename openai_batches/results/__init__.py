"""What became of each request: read from the result files, matched with the inputs, and written as tables.

Begin with ``result``, what became of one request, then ``parse``, which reads it from a line, and ``stream``,
which gives the results of a batch.
Imports ``costs``, ``requests``, ``storage`` and the top of the package.
"""
