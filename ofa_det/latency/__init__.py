"""Latency of a network on a phone: from layer records to milliseconds, and measurement."""
