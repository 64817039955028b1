"""Layers whose width and kernel are arguments of the call; they know nothing of detection."""
