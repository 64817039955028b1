"""Validation against the OVIC interface, model card, packaging."""
