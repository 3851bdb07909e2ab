"""Reads tables as people keep them: CSV or JSON, a file for each category, no key, no types.

files --profile--> columns and their types --mapping--> records, and findings for a data steward
"""
