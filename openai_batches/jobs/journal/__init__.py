"""A job's memory: which attempts were made at each shard, and what came of them.

Begin with ``records``, what is remembered, then ``sqlite``, which keeps it.
Imports the errors and records of the package.
"""
