"""Proposed operations: checked and completed by records_service, and kept in their order."""
