"""Exports records as JSON, NDJSON, CSV or XLSX, any number of them in constant memory."""
