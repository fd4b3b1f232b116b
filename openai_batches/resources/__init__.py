"""What the service offers: files, uploads, batches and webhooks.

Begin with ``batches`` and ``files``, whose methods are those of a session. ``create`` creates a batch exactly once,
``poller`` asks how batches are, and ``wait`` waits for them.
Imports ``http``, ``results`` and what they import.
"""
