"""Reads a database of JSON Lines with a JSON Schema for each category, such as BuildCores OpenDB.

schemas/<Category>.schema.json --fields--> attributes and schemas
products/<Category>.jsonl.gz   ---------> records
"""
