"""One HTTP request and its answer.

Begin with ``client``, one attempt, which alone uses aiohttp's client, and ``retries``, which repeats attempts where
``failures`` allows it. ``wire`` turns a call into a request and an answer into a record or an error, ``decode`` bytes
into records. Imports the top of the package only.
"""
