"""The emulator's webhooks: endpoints, signatures and deliveries.

Begin with ``delivery``.
Imports the emulator's batches, store and clock.
"""
