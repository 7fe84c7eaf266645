"""Webhooks: received, kept beside the other bronze, used as notices of change, compared with the events feed."""
