"""Writes many records in one call, by the same checks as single writes; the engine of imports."""
